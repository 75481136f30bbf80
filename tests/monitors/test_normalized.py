"""Checks of shapes that all monitors share; test_contract.py makes sure that each calls them."""

import pytest
import torch

from ssl_norm.monitors.normalized import directions, matching_directions, wide_rows


@pytest.mark.parametrize("shape", [(8,), (1, 4), (8, 0), (2, 1, 4), (2, 2, 2, 4)], ids=str)
def test_wrong_shapes_are_named(shape):
    for function in (directions, wide_rows):
        with pytest.raises(ValueError, match=r"z must have shape \(N >= 2, D\), got \(\d"):
            function(torch.ones(shape), "z")


@pytest.mark.parametrize("target", [(3, 4), (2, 1)])
def test_pairs_have_one_shape(target):
    with pytest.raises(ValueError, match=r"the same shape, got \(2, 4\) and \(\d, \d\)"):
        matching_directions(torch.ones(2, 4), torch.ones(target))
    with pytest.raises(ValueError, match=r"target must have shape \(N >= 2, D\), got \(1, 4\)"):
        matching_directions(torch.ones(2, 4), torch.ones(1, 4))


def test_rows_of_any_length_have_length_one_and_zeros_stay():
    rows = torch.tensor([[3e-20, 4e-20], [3e20, -4e20], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.6, 0.8], [0.6, -0.8], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(directions(rows), expected)
