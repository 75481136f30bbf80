"""What every monitor in the registry promises."""

import subprocess
import sys
from importlib import import_module
from math import isnan, nan

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_norm import monitors
from ssl_norm.monitors import MONITORS
from tests.monitors import samples

each_monitor = pytest.mark.parametrize("name", MONITORS)


def monitor(name):
    module, _, function = MONITORS[name].target.partition(":")
    return getattr(import_module(module), function)


def inputs(name, **options):
    return samples.inputs(MONITORS[name].inputs, **options)


class NoHostSynchronization(TorchDispatchMode):
    """Fail where a tensor's value or a shape that depends on values is asked for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        waits = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique")
        assert function.overloadpacket.__name__ not in waits, function
        return function(*args, **(kwargs or {}))


@each_monitor
def test_is_a_documented_function_of_the_package(name):
    function = monitor(name)
    assert getattr(monitors, name) is function
    assert function.__name__ == name
    assert "collapse" in function.__doc__


@each_monitor
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_anything_else(name, dtype):
    given = inputs(name, dtype=dtype)
    measured = monitor(name)(*given)
    assert (measured.shape, measured.dtype) == ((), torch.float64)
    assert measured.device == given[0].device
    assert torch.equal(measured, monitor(name)(*(tensor.double() for tensor in given)))


@each_monitor
def test_leaves_its_input_alone(name):
    given = inputs(name)
    before = [tensor.clone() for tensor in given]
    monitor(name)(*(tensor.requires_grad_() for tensor in given))
    assert all(torch.equal(tensor, old) for tensor, old in zip(given, before, strict=True))
    assert all(tensor.grad_fn is None for tensor in given)


@each_monitor
def test_autocast_does_not_reach_it(name):
    given = inputs(name, dtype=torch.float32)
    expected = monitor(name)(*given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(monitor(name)(*given), expected)


@each_monitor
@pytest.mark.parametrize("value", [nan, torch.inf, -torch.inf])
def test_one_value_that_is_not_finite_makes_nan(name, value):
    for position in range(len(inputs(name))):
        given = inputs(name)
        given[position].view(-1)[5] = value
        assert isnan(monitor(name)(*given))


@each_monitor
@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("length", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_complete_collapse_reads_as_the_registry_says(name, count, length, dtype):
    row = length * samples.random(samples.DIMENSIONS, seed=4).to(dtype)
    given = samples.constant(MONITORS[name].inputs, row, count)
    expected = MONITORS[name].at_collapse
    assert monitor(name)(*given).item() == pytest.approx(expected, abs=5e-5, nan_ok=True)


@each_monitor
def test_rows_of_zeros_have_a_value(name):
    given = samples.constant(MONITORS[name].inputs, torch.zeros(samples.DIMENSIONS))
    assert isnan(monitor(name)(*given)) == isnan(MONITORS[name].at_collapse)


@each_monitor
@pytest.mark.parametrize("size", [1, 2, samples.DIMENSIONS])
def test_two_rows_are_enough(name, size):
    measured = monitor(name)(*inputs(name, count=2, size=size))
    assert measured.isfinite() or isnan(MONITORS[name].at_collapse)


@each_monitor
def test_more_dimensions_than_rows(name):
    measured = monitor(name)(*inputs(name, count=samples.DIMENSIONS - 8))
    assert measured.isfinite()


@each_monitor
def test_order_of_rows_does_not_matter(name):
    given = inputs(name)
    order = torch.randperm(len(given[0]), generator=torch.Generator().manual_seed(5))
    permuted = (tensor[order] for tensor in given)
    torch.testing.assert_close(
        monitor(name)(*permuted), monitor(name)(*given), rtol=1e-9, atol=1e-12
    )


def test_waiting_is_noticed():
    for waits in (torch.Tensor.item, bool, torch.nonzero):
        with NoHostSynchronization(), pytest.raises(AssertionError):
            waits(torch.ones(()))


@each_monitor
def test_never_waits_for_the_device(name):
    with NoHostSynchronization():
        monitor(name)(*inputs(name))


@each_monitor
@pytest.mark.parametrize(
    "shape", [(8,), (1, 4), (8, 0), (2, 1, 4), (2, 2, 0), (2, 2, 2, 4)], ids=str
)
def test_wrong_shapes_are_named(name, shape):
    count = len(inputs(name))
    with pytest.raises(ValueError, match=r"must have shape \(.*\), got \(.*\)"):
        monitor(name)(*[torch.ones(shape)] * count)


@each_monitor
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(name):
    given = inputs(name)
    measured = monitor(name)(*(tensor.cuda() for tensor in given))
    assert measured.device.type == "cuda"
    torch.testing.assert_close(measured.cpu(), monitor(name)(*given), rtol=1e-9, atol=1e-12)


def test_names_are_there_before_torch():
    code = "import sys, ssl_norm.monitors.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'rank_you'"):
        _ = monitors.rank_you
