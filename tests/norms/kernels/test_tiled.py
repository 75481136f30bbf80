"""The passes in plain torch, in one tile and in many."""

import pytest
import torch

from ssl_norm.norms.kernels import tiled
from tests.norms.kernels.passes import (
    LAYOUTS,
    SHAPES,
    TOLERANCES,
    check,
    check_hostile_mean,
    data,
)


@pytest.fixture(params=[25, 2**19], ids=lambda elements: f"tile{elements}")
def tile(request, monkeypatch):
    monkeypatch.setattr(tiled, "TILE_ELEMENTS", request.param)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_definitions(layout, shape, dtype):
    x, dy = data(*shape, dtype=dtype), data(*shape, dtype=dtype, seed=1)
    check(tiled, LAYOUTS[layout](x), dy)
    check(tiled, LAYOUTS[layout](x), LAYOUTS[layout](dy))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_expanded_gradients_and_inputs(layout):
    x = LAYOUTS[layout](data(3, 5, 2, 3))
    check(tiled, x, data(3, 5, 1, 1, seed=1).expand_as(x))
    check(tiled, x, data(1, seed=1).expand_as(x))
    check(tiled, data(3, 1, 1, 3).expand_as(x), x)


@pytest.mark.usefixtures("tile")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_large_mean_does_not_drown_the_variance(layout):
    check_hostile_mean(tiled, "cpu", layout)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_on_a_gpu(layout):
    x, dy = (data(3, 5, 3, 2, device="cuda", seed=seed) for seed in range(2))
    check(tiled, LAYOUTS[layout](x), dy)
