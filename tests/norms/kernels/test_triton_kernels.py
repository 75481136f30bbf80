"""Triton's passes: on a GPU, and on any machine in Triton's interpreter.

Triton reads TRITON_INTERPRET at import, so the first test runs the others in a subprocess.
"""

import os
import subprocess
import sys

import pytest
import torch

from ssl_norm.norms.core import RuleNorm, normalize
from ssl_norm.norms.kernels import tiling
from ssl_norm.norms.kernels.dispatch import passes_for
from tests.norms.kernels.passes import (
    LAYOUTS,
    SHAPES,
    TOLERANCES,
    check,
    check_hostile_mean,
    data,
)

pytestmark = pytest.mark.slow

triton_kernels = pytest.importorskip(
    "ssl_norm.norms.kernels.triton_kernels", exc_type=ImportError, reason="needs Triton"
)
DENSE = ["contiguous", "channels last"]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

# The interpreter computes with NumPy, which warns of values that are not finite.
numpy_warns = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
runs_kernels = numpy_warns if INTERPRETED else pytest.mark.gpu


@pytest.fixture
def device():
    if not INTERPRETED and not torch.cuda.is_available():
        pytest.skip("needs a GPU; runs in the interpreter elsewhere")
    return DEVICE


@pytest.fixture
def many_programs(monkeypatch):
    """Divide even small inputs among many tiles, spans and programs."""
    monkeypatch.setattr(tiling, "TILE_ELEMENTS", 16)
    monkeypatch.setattr(tiling, "CONTIGUOUS_POSITIONS", 4)
    monkeypatch.setattr(tiling, "CHANNELS_LAST_BYTES", 32)
    monkeypatch.setattr(tiling, "FEWEST_TILES", 2)
    monkeypatch.setattr(triton_kernels, "_programs_to_fill", lambda device: 16)
    tiling.tiling.cache_clear()
    yield
    tiling.tiling.cache_clear()


@pytest.mark.skipif(INTERPRETED, reason="starts the interpreter")
def test_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@runs_kernels
@pytest.mark.parametrize(
    ("layout", "shape"),
    [(layout, s) for layout in LAYOUTS for s in (SHAPES if layout in DENSE else SHAPES[3:4])],
    ids=str,
)
def test_equals_the_definitions(device, layout, shape):
    x, dy = (data(*shape, device=device, seed=seed) for seed in range(2))
    check(triton_kernels, LAYOUTS[layout](x), LAYOUTS["channels last"](dy))


@runs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dtypes(device, dtype):
    x, dy = (data(3, 5, 3, 2, dtype=dtype, device=device, seed=seed) for seed in range(2))
    check(triton_kernels, LAYOUTS["channels last"](x), dy)


@runs_kernels
@pytest.mark.usefixtures("many_programs")
@pytest.mark.parametrize("layout", DENSE)
def test_in_many_programs(device, layout):
    x, dy = (data(2, 5, 13, device=device, seed=seed) for seed in range(2))
    plan = tiling.tiling(x.shape, 8, layout == "channels last", 16)
    assert plan.spans > 1
    assert plan.programs > plan.spans
    check(triton_kernels, LAYOUTS[layout](x), dy)


@runs_kernels
@pytest.mark.parametrize("layout", DENSE)
def test_offsets_of_64_bits(device, layout, monkeypatch):
    monkeypatch.setattr(tiling, "MOST_ELEMENTS_INT32", 0)
    tiling.tiling.cache_clear()
    x, dy = (data(3, 5, 3, 2, device=device, seed=seed) for seed in range(2))
    check(triton_kernels, LAYOUTS[layout](x), dy)
    tiling.tiling.cache_clear()


@runs_kernels
@pytest.mark.parametrize("layout", DENSE)
def test_expanded_gradients_and_inputs(device, layout):
    x = LAYOUTS[layout](data(3, 5, 2, 3, device=device))
    check(triton_kernels, x, data(3, 5, 1, 1, device=device, seed=1).expand_as(x))
    check(triton_kernels, x, data(1, device=device, seed=1).expand_as(x))
    check(triton_kernels, data(3, 1, 1, 3, device=device).expand_as(x), x)


@runs_kernels
@pytest.mark.parametrize("layout", DENSE)
def test_a_large_mean_does_not_drown_the_variance(device, layout, monkeypatch):
    check_hostile_mean(triton_kernels, device, layout)
    monkeypatch.setattr(triton_kernels, "_programs_to_fill", lambda device: 16)
    monkeypatch.setattr(tiling, "FEWEST_TILES", 1)
    tiling.tiling.cache_clear()
    check_hostile_mean(triton_kernels, device, layout)
    tiling.tiling.cache_clear()


@runs_kernels
def test_values_that_are_not_finite_stay_in_their_rows(device):
    x = data(2, 3, 5, dtype=torch.float32, device=device)
    x[0, 1, 2], x[1, 2, 0] = torch.inf, torch.nan
    mean, variance = triton_kernels.instance_moments(x)
    finite = torch.tensor([[True, False, True], [True, True, False]], device=device)
    assert torch.equal(mean.isfinite(), finite)
    assert torch.equal(variance.isfinite(), finite)
    y = triton_kernels.pointwise_map(x, mean, variance)
    assert torch.equal(y.isfinite().all(-1), finite)


class BatchNorm(RuleNorm):
    """A rule that pools over samples: its tables and their gradients are expanded."""

    def __init__(self, num_features):
        super().__init__(num_features)
        self.weight = torch.nn.Parameter(data(num_features, seed=3))

    def rule(self, mean, variance):
        pooled = mean.mean(0)
        scale = self.weight * (variance.mean(0) + (mean - pooled).square().mean(0) + 1e-5).rsqrt()
        return scale, -pooled * scale


@runs_kernels
@pytest.mark.parametrize("layout", DENSE)
def test_normalize_has_the_gradients_of_its_values(device, layout):
    layer = BatchNorm(2).double().to(device)
    x = LAYOUTS[layout](data(3, 2, 2, 1, device=device)).requires_grad_()
    assert passes_for(x) is triton_kernels
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, layer.weight), fast_mode=True)


@runs_kernels
@pytest.mark.parametrize("layout", DENSE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_normalize_equals_batch_norm(device, layout, dtype):
    ours = BatchNorm(5).to(device)
    theirs = torch.nn.BatchNorm2d(5, dtype=torch.float64).to(device)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
    x = LAYOUTS[layout](data(4, 5, 3, 3, dtype=dtype, device=device)).requires_grad_()
    x_wide = x.detach().double().requires_grad_()
    y, y_wide = ours(x), theirs(x_wide)
    y.square().mean().backward()
    y_wide.square().mean().backward()
    tolerance = TOLERANCES[dtype]
    assert y.dtype == x.grad.dtype == dtype
    torch.testing.assert_close(y, y_wide, check_dtype=False, **tolerance)
    torch.testing.assert_close(x.grad, x_wide.grad, check_dtype=False, **tolerance)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, check_dtype=False, **tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a GPU")
def test_large_inputs_on_a_gpu():
    for shape in [(64, 256, 56, 56), (2, 32, 96, 96, 96), (32, 2048, 7, 7)]:
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(shape, device="cuda", dtype=dtype) + 3
            for layout in ("contiguous", "channels last"):
                rows = LAYOUTS[layout](x)
                variance, mean = torch.var_mean(x.double().flatten(2), -1, correction=0)
                actual = triton_kernels.instance_moments(rows)
                torch.testing.assert_close(
                    actual, (mean.float(), variance.float()), rtol=1e-5, atol=1e-6
                )
                y = normalize(rows, lambda mean, variance: (variance, mean))
                expected = variance[..., None] * x.double().flatten(2) + mean[..., None]
                torch.testing.assert_close(y.flatten(2), expected.to(dtype))


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a GPU")
def test_more_elements_than_32_bits_reach_on_a_gpu():
    if torch.cuda.get_device_properties(0).total_memory < 24e9:
        pytest.skip("needs 24 GB")
    x = torch.zeros(2, 64, 2**25 + 5, device="cuda", dtype=torch.float16)
    x[-1, -1, ::2] = 2
    mean, variance = triton_kernels.instance_moments(x)
    assert mean[-1, -1].item() == pytest.approx(1, abs=1e-6)
    assert variance[-1, -1].item() == pytest.approx(1, abs=1e-6)
    assert mean.count_nonzero() == 1
