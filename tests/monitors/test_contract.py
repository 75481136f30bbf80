"""Properties of every monitor in the registry, derived from its declaration."""

import inspect
import subprocess
import sys
from importlib import import_module
from math import inf, isnan, nan

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_norm import monitors
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.declare import load_monitor
from ssl_norm.monitors.normalized import directions
from tests.monitors import samples
from tests.reference import monitors as references

DECLARED = {
    name: load_monitor(name).declaration
    for name, target in MONITORS.items()
    if target.startswith("ssl_norm.")
}
each_monitor = pytest.mark.parametrize("name", DECLARED)


def monitors_that(holds):
    return pytest.mark.parametrize("name", [name for name in DECLARED if holds(DECLARED[name])])


def inputs(name, **options):
    return samples.inputs(DECLARED[name].inputs, **options)


def measure(name, change=lambda embeddings: embeddings, **options):
    return load_monitor(name)(*map(change, inputs(name, **options))).item()


def reference(name):
    """Return the definition in loops: of tests/reference/monitors.py or of the monitor's test."""
    if hasattr(references, name):
        return getattr(references, name)
    return import_module(f"tests.monitors.test_{name}").reference


class NoHostSynchronization(TorchDispatchMode):
    """Fail where a tensor's value or a shape that depends on values is asked for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        waits = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique")
        assert function.overloadpacket.__name__ not in waits, function
        return function(*args, **(kwargs or {}))


@each_monitor
def test_is_a_documented_function_of_the_package(name):
    function = load_monitor(name)
    assert getattr(monitors, name) is function
    assert function.__name__ == name
    assert "eigenvalues" not in inspect.signature(function).parameters
    assert f"at complete collapse: {DECLARED[name].at_collapse:g}; at an" in function.__doc__


@each_monitor
@pytest.mark.parametrize(("mean", "tolerance"), [(0.0, 1e-7), (100.0, 1e-4)])
def test_equals_its_reference(name, mean, tolerance):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        given = [(mean + tensor).to(dtype) for tensor in inputs(name, count=30, size=20)]
        expected = reference(name)(*(tensor.tolist() for tensor in given))
        assert load_monitor(name)(*given).item() == pytest.approx(expected, rel=tolerance)


@each_monitor
def test_half_precision_is_widened_before_anything_else(name):
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        given = inputs(name, dtype=dtype)
        measured = load_monitor(name)(*given)
        assert (measured.shape, measured.dtype) == ((), torch.float64)
        assert measured.device == given[0].device
        assert torch.equal(measured, load_monitor(name)(*(tensor.double() for tensor in given)))


@each_monitor
def test_leaves_its_input_alone_and_ignores_autocast(name):
    given = inputs(name, dtype=torch.float32)
    before = [tensor.clone() for tensor in given]
    expected = load_monitor(name)(*(tensor.requires_grad_() for tensor in given))
    assert all(map(torch.equal, given, before))
    assert all(tensor.grad_fn is None for tensor in given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(load_monitor(name)(*given), expected)


@each_monitor
def test_one_value_that_is_not_finite_makes_nan(name):
    for value in (nan, inf, -inf):
        for position in range(len(inputs(name))):
            given = inputs(name)
            given[position].view(-1)[5] = value
            assert isnan(load_monitor(name)(*given))


@each_monitor
@pytest.mark.parametrize(("count", "length"), [(2, 1.0), (40, 1e-6), (40, 1e6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_complete_collapse_has_the_declared_value(name, count, length, dtype):
    row = length * samples.random(samples.DIMENSIONS, seed=4).to(dtype)
    measured = load_monitor(name)(*samples.constant(DECLARED[name].inputs, row, count))
    assert measured.item() == pytest.approx(DECLARED[name].at_collapse, abs=5e-5, nan_ok=True)


@each_monitor
def test_rows_of_zeros_have_a_value(name):
    given = samples.constant(DECLARED[name].inputs, torch.zeros(samples.DIMENSIONS))
    assert isnan(load_monitor(name)(*given)) == isnan(DECLARED[name].at_collapse)


@each_monitor
def test_two_rows_and_more_dimensions_than_rows_are_enough(name):
    for size in (1, 2, samples.DIMENSIONS):
        value = measure(name, count=2, size=size)
        assert abs(value) < inf or isnan(DECLARED[name].at_collapse)
    assert abs(measure(name, count=samples.DIMENSIONS - 8)) < inf


@each_monitor
def test_never_waits_for_the_device(name):
    with NoHostSynchronization():
        load_monitor(name)(*inputs(name))


def test_waiting_is_noticed():
    for waits in (torch.Tensor.item, bool, torch.nonzero):
        with NoHostSynchronization(), pytest.raises(AssertionError):
            waits(torch.ones(()))


@each_monitor
def test_checks_the_shape(name):
    for cut in ((slice(1),), (..., slice(0)), (0,)):
        given = [tensor[cut] for tensor in inputs(name)]
        with pytest.raises(ValueError, match=r"must have shape \(.*\), got \(\d+,"):
            load_monitor(name)(*given)


@each_monitor
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(name):
    given = inputs(name)
    measured = load_monitor(name)(*(tensor.cuda() for tensor in given))
    assert measured.device.type == "cuda"
    torch.testing.assert_close(measured.cpu(), load_monitor(name)(*given), rtol=1e-9, atol=1e-12)


@each_monitor
def test_order_of_rows_does_not_matter(name):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5))
    expected = pytest.approx(measure(name), rel=1e-9, abs=1e-12)
    assert measure(name, lambda z: z[order]) == expected


@each_monitor
def test_a_common_factor_matters_where_declared(name):
    expected = pytest.approx(measure(name), rel=1e-9)
    for factor in (1e-20, -3.0, 1e20):
        same = measure(name, lambda z, factor=factor: factor * z) == expected
        assert same == ("scale" not in DECLARED[name].depends_on)


@each_monitor
def test_a_rotation_matters_where_declared(name):
    rotation = samples.rotation(samples.DIMENSIONS)
    alive = torch.arange(samples.DIMENSIONS) < samples.DIMENSIONS - 8
    expected = measure(name, lambda z: z * alive)
    same = measure(name, lambda z: z * alive @ rotation) == pytest.approx(expected, rel=1e-9)
    assert same == ("axes" not in DECLARED[name].depends_on)


@each_monitor
def test_a_common_shift_matters_unless_rows_are_centred(name):
    same = measure(name, lambda z: z + 100) == pytest.approx(measure(name), rel=1e-7)
    assert same == (DECLARED[name].prepares == "centres")


@monitors_that(lambda declared: declared.prepares in ("normalizes", "both"))
def test_lengths_of_rows_do_not_matter_where_they_are_normalized(name):
    lengths = 10.0 ** torch.linspace(-20, 20, 40, dtype=torch.float64)
    longer = lambda z: lengths.view(-1, *[1] * (z.ndim - 1)) * z  # noqa: E731
    assert measure(name, longer) == pytest.approx(measure(name), rel=1e-9)


@monitors_that(lambda declared: declared.inputs == "embeddings")
def test_prepares_rows_as_declared(name):
    z = torch.randn(200, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    z *= torch.linspace(0.5, 4, 200)[:, None]
    z[:, 0] = 1  # dead once centred, alive in the directions
    value, of_directions, of_centred = (
        load_monitor(name)(rows).item() for rows in (z, directions(z), z - z.mean(0))
    )
    prepares = DECLARED[name].prepares
    assert (value == pytest.approx(of_directions, abs=1e-9)) == (prepares in ("normalizes", "both"))
    assert (value == pytest.approx(of_centred, abs=1e-6)) == (prepares == "centres")


@monitors_that(lambda declared: declared.of_normalized or declared.of_spectrum)
def test_shared_forms_give_the_same(name):
    declared, (embeddings, *_) = DECLARED[name], inputs(name)
    if declared.of_normalized:
        assert declared.of_normalized(directions(embeddings)) == load_monitor(name)(embeddings)
    if declared.of_spectrum:
        rows = directions(embeddings) if declared.prepares == "both" else embeddings
        spectrum = monitors.covariance_spectrum(rows)
        assert declared.of_spectrum(spectrum) == load_monitor(name)(embeddings)


def test_names_are_there_before_torch_and_unknown_ones_are_attribute_errors():
    code = "import sys, ssl_norm.monitors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    with pytest.raises(AttributeError, match="has no attribute 'rank_you'"):
        _ = monitors.rank_you
