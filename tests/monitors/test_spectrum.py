from math import isnan

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from ssl_norm.monitors import alpha_req, cev_auc, covariance_spectrum
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.spectrum import second_moment_spectrum, squared_singular_values
from tests.monitors import samples
from tests.reference import monitors as reference

alpha = alpha_req.declaration.of_spectrum


def test_spectrum_equals_its_definition_and_sklearn():
    embeddings = 100 + samples.random(50, 20)
    spectrum = covariance_spectrum(embeddings)
    expected = reference.covariance_spectrum(embeddings.tolist())
    assert spectrum.tolist() == pytest.approx(expected, rel=1e-9)
    unbiased = PCA().fit(embeddings.numpy()).explained_variance_
    np.testing.assert_allclose(spectrum.numpy() * 50 / 49, unbiased, rtol=1e-9)


def test_fewer_rows_than_dimensions():
    embeddings = samples.random(8, 20)
    spectrum = covariance_spectrum(embeddings)
    assert spectrum.shape == (8,)
    assert spectrum[7] == 0
    expected = reference.covariance_spectrum(embeddings.tolist())[:7]
    assert spectrum[:7].tolist() == pytest.approx(expected, rel=1e-9)


def test_an_even_spread():
    cross = torch.cat([torch.eye(20), -torch.eye(20)])
    assert covariance_spectrum(cross).tolist() == pytest.approx([1 / 20] * 20)
    assert alpha_req(cross).item() == pytest.approx(0, abs=1e-12)
    assert cev_auc(cross).item() == pytest.approx(21 / 40)


def test_one_line():
    line = samples.random(50, 1) * samples.random(1, 20)
    assert cev_auc(line).item() == pytest.approx(1, rel=1e-12)
    assert isnan(alpha_req(line))


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 3.0])
def test_a_power_law_has_its_exponent(exponent):
    eigenvalues = 7 * torch.arange(1, 121, dtype=torch.float64) ** -exponent
    assert alpha(eigenvalues).item() == pytest.approx(exponent, abs=1e-12)
    eigenvalues[:9] = 1e6
    eigenvalues[99:] = 0
    assert alpha(eigenvalues).item() == pytest.approx(exponent, abs=1e-12)
    assert isnan(alpha(eigenvalues[:10]))


@pytest.mark.parametrize("length", [1e-20, 1.0, 1e20])
def test_equal_rows_have_no_variance_but_a_second_moment(length):
    row = length * samples.random(20)
    equal_rows = row.repeat(50, 1)
    assert covariance_spectrum(equal_rows).tolist() == [0] * 20
    lengths = torch.rand(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert covariance_spectrum(directions(lengths * equal_rows)).tolist() == [0] * 20
    moment = second_moment_spectrum(equal_rows)
    torch.testing.assert_close(moment[0], row @ row)
    assert moment[1:].tolist() == [0] * 19


@pytest.mark.parametrize(("count", "size"), [(60, 7), (7, 60), (9, 9)])
def test_equals_singular_values(count, size):
    rows = samples.random(count, size)
    expected = torch.linalg.svdvals(rows).square() / count
    torch.testing.assert_close(squared_singular_values(rows), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("rank", [1, 2, 5, 40])
@pytest.mark.parametrize(("count", "size"), [(300, 50), (50, 300)])
def test_a_matrix_of_rank_r_has_r_eigenvalues(rank, count, size):
    rows = samples.random(count, rank) @ samples.random(rank, size, seed=1)
    eigenvalues = squared_singular_values(rows)
    assert eigenvalues.shape == (50,)
    assert (eigenvalues > 0).sum() == rank
    assert (eigenvalues >= 0).all()


def test_resolution():
    singular_values = torch.tensor([1.0, 1e-3, 1e-6, 1e-9], dtype=torch.float64)
    eigenvalues = squared_singular_values(samples.with_singular_values(singular_values, 4 + 1))
    resolved = singular_values * torch.tensor([1, 1, 1, 0])
    torch.testing.assert_close((5 * eigenvalues).sqrt(), resolved, rtol=1e-3, atol=0)


def test_floor():
    rows = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    assert squared_singular_values(rows, floor=1.0).tolist() == pytest.approx([16 / 3, 4 / 3, 0])
