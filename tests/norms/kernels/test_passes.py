"""The passes in plain torch, in one tile and in many, and compiled, against their definitions."""

import pytest
import torch

from ssl_norm.norms.kernels import native, tiled
from ssl_norm.norms.kernels.dispatch import AFFINE
from ssl_norm.norms.kernels.native_build import library
from ssl_norm.norms.kernels.tables import dense
from tests.norms.kernels.passes import (
    LAYOUTS,
    SHAPES,
    TOLERANCES,
    check,
    check_hostile_mean,
    data,
)

BLOCKS = [(2, 520, 33), (1, 3, 100, 101)]  # more than one of channels and of positions
needs_compiler = pytest.mark.skipif(
    library(SCALAR="float", MAP="Affine") is None, reason="needs a C++ compiler"
)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(params=["one tile", "many tiles", pytest.param("compiled", marks=needs_compiler)])
def passes(request, monkeypatch):
    if request.param == "many tiles":
        monkeypatch.setattr(tiled, "TILE_ELEMENTS", 25)
    return AFFINE if request.param == "compiled" else tiled


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((shape, torch.float64) for shape in SHAPES), *((SHAPES[3], dtype) for dtype in TOLERANCES)],
    ids=str,
)
@each_layout
def test_equals_the_definitions(passes, layout, shape, dtype):
    if passes is AFFINE and dtype not in native.SCALARS:
        pytest.skip("not compiled")
    x, dy = data(*shape, dtype=dtype), data(*shape, dtype=dtype, seed=1)
    check(passes, LAYOUTS[layout](x), dy)
    check(passes, LAYOUTS[layout](x), LAYOUTS[layout](dy))


@needs_compiler
@pytest.mark.parametrize("dtype", native.SCALARS, ids=str)
@pytest.mark.parametrize("shape", BLOCKS, ids=str)
@each_layout
def test_compiled_blocks_equal_the_definitions(layout, shape, dtype):
    x, dy = data(*shape, dtype=dtype), data(*shape, dtype=dtype, seed=1)
    check(AFFINE, LAYOUTS[layout](x), LAYOUTS[layout](dy))


@each_layout
def test_expanded_and_negated_gradients_and_inputs(passes, layout):
    x = LAYOUTS[layout](data(3, 5, 2, 3))
    check(passes, x, data(3, 5, 1, 1, seed=1).expand_as(x))
    check(passes, x, data(1, seed=1).expand_as(x))
    check(passes, data(3, 1, 1, 3).expand_as(x), x)
    negated = torch.complex(x, x).conj().imag
    assert negated.is_neg()
    check(passes, negated, negated)


@each_layout
def test_a_large_mean_does_not_drown_the_variance(passes, layout):
    check_hostile_mean(passes, "cpu", layout)


def test_channels_of_one_position_are_read_side_by_side():
    for x, side_by_side in ((data(2, 5, 1, 1), True), (data(2, 5, 2, 1), False)):
        for layout in ("contiguous", "sliced"):
            found, channels_last = dense(LAYOUTS[layout](x))
            assert found.is_contiguous()
            assert channels_last is side_by_side


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_layout
def test_on_a_gpu(layout):
    x, dy = (data(3, 5, 3, 2, device="cuda", seed=seed) for seed in range(2))
    check(tiled, LAYOUTS[layout](x), dy)
