import numpy as np
import pytest
import torch

from ssl_norm_example.vendi_score import vendi_score


def reference(embeddings):
    z = np.array(embeddings)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(z @ z.T / len(z))
    return float(np.exp(-sum(value * np.log(value) for value in values if value > 1e-14)))


def test_counts_equally_frequent_directions():
    assert vendi_score(torch.eye(3).repeat(4, 1)).item() == pytest.approx(3)
