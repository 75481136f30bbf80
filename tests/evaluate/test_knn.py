import numpy as np
import pytest
import torch

from ssl_norm.evaluate import knn
from tests.evaluate.problems import blobs
from tests.reference import evaluation as reference


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (7, 1.0), (500, 0.5)])
def test_equals_the_loop_up_to_one_factor_per_query(k, temperature):
    bank, labels = blobs(40, 5, 4, seed=0)
    queries, _ = blobs(9, 5, 4, seed=1)
    votes = knn.knn_scores(bank, labels, queries, 4, k, temperature).numpy()
    expected = reference.knn_scores(
        bank.numpy(), labels.numpy(), queries.numpy(), 4, k, temperature
    )
    shares = votes / votes.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        shares, expected / expected.sum(axis=1, keepdims=True), rtol=1e-10, atol=1e-14
    )


def test_result_does_not_depend_on_the_chunks(monkeypatch):
    bank, labels = blobs(30, 5, 3, seed=0)
    queries, _ = blobs(11, 5, 3, seed=1)
    whole = knn.knn_scores(bank, labels, queries, 3, 5, 0.1)
    monkeypatch.setattr(knn, "MAX_SIMILARITIES", 2 * len(bank))
    torch.testing.assert_close(knn.knn_scores(bank, labels, queries, 3, 5, 0.1), whole)


def test_a_very_low_temperature_is_the_nearest_neighbour():
    bank, labels = blobs(30, 5, 3, seed=0, dtype=torch.float32)
    votes = knn.knn_scores(bank, labels, bank, 3, 30, 1e-6)
    assert votes.isfinite().all()
    assert (votes.argmax(dim=1) == labels).all()
