"""Steps on fake tensors on `cuda`, which show copies between devices and waits without a GPU.

Operations on a fake tensor compute its shape, dtype and device. Tensors of different devices in one
operation, and values that the host reads, are errors. Autograd needs a device, so all is forward.
"""

import itertools
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Generator, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ssl_norm.data.augment import filters
from ssl_norm.data.augment.parameters import AUGMENTATIONS, ViewParameters
from ssl_norm.data.augment.views import Views
from ssl_norm.learners import METHODS
from ssl_norm.losses import LOSSES
from ssl_norm.monitors import CollapseMonitor, pairing
from ssl_norm.monitors.layers import LayerMonitor, layers_of
from ssl_norm.monitors.watch import CollapseWatch
from ssl_norm.norms import NORMS
from ssl_norm.norms.kernels import dispatch, tiled
from ssl_norm.signature import options_of
from ssl_norm.train.step_log import StepLog, floating_tensors
from tests.learners.test_learners import CASES
from tests.learners.toy import SIZE, WIDTH, make
from tests.losses.test_contract import counts, options
from tests.norms.test_contract import SHAPES, SPECS, build

N = 8
aten = torch.ops.aten


class NoWaits(TorchDispatchMode):
    """Refuse copies for which the CPU waits: blocking ones, and those from or to pageable memory."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = kwargs or {}
        result = function(*args, **given)
        if function is aten.empty.memory_format and given.get("pin_memory"):
            pin(result)
        sources = {aten._to_copy.default: 0, aten.copy_.default: 1}
        if function in sources:
            source = args[sources[function]]
            on_host = source if source.is_cpu else result
            is_blocking = given.get("non_blocking") is not True and args[2:] != (True,)
            waits = is_blocking or not hasattr(on_host, "pinned")
            assert source.device.type == result.device.type or not waits, "host waits for a copy"
        return result


def fake(size, dtype=torch.float32):
    return torch.empty(size, dtype=dtype, device="cuda")


def pin(tensor):
    tensor.pinned = True
    return tensor


def on_gpu(module):
    """Return a module with fake tensors for its parameters and buffers, to which it holds."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is not None:
                    twin = torch.empty(value.shape, dtype=value.dtype, device="cuda")
                    learns = isinstance(value, nn.Parameter)
                    tensors[name] = nn.Parameter(twin, value.requires_grad) if learns else twin
    return module


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(dispatch, "_passes_on", lambda device: tiled)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(filters, "_reflected_places", filters._reflected_places.__wrapped__)
    with torch.no_grad():
        yield FakeTensorMode()


def devices(*tensors):
    return {tensor.device.type for tensor in tensors}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize(
    "policy", [{}, {"population": "cumulative", "evaluation": "batch"}], ids=str
)
def test_norms(name, policy, gpu):
    known = {key: value for key, value in policy.items() if key in SPECS[name].all_options}
    layer = build(name, torch.float32, **known)
    with gpu, NoWaits():
        layer = on_gpu(layer)
        for shape in SHAPES[::2]:  # vectors and images
            if SPECS[name].vectors or len(shape) > 2:
                for training in (True, False):
                    assert devices(layer.train(training)(fake(shape))) == {"cuda"}
        assert devices(*layer.state_dict().values()) <= {"cuda"}


@pytest.mark.parametrize(("method", "options"), CASES)
@pytest.mark.parametrize("norm", ["ln", "bn", "act", "domain"])
def test_steps_of_learners_without_backward(method, options, norm, gpu):
    if "ema_buffers" in options_of(METHODS.load(method)):
        options = {"ema_buffers": norm == "bn", **options}
    learner, log = make(method, norm=norm, **options).float(), StepLog()
    with gpu, NoWaits():
        on_gpu(learner)
        log.look(0, dict(floating_tensors(learner.state_dict())))
        output = learner(fake((N, 3, SIZE, SIZE)), fake((N, 3, SIZE, SIZE)))
        learner.after_backward(output)
        log.add(1, N, output.loss, **output.scalars)
        learner.after_step(0.5)
        pairs = [z for pair in output.pairs for z in pair]
        assert devices(output.loss, *output.scalars.values(), *pairs) == {"cuda"}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, gpu):
    with gpu, NoWaits():
        given = [fake((count, WIDTH)) for count in counts(name)]
        assert devices(LOSSES.load(name)(*given, **options(name))) == {"cuda"}


@pytest.mark.parametrize("crops", [1, 2])
@pytest.mark.parametrize("size", [(N, WIDTH), (N, 3, WIDTH)], ids=["rows", "tokens"])
@pytest.mark.parametrize("pairs", [True, False])
def test_collapse_monitor(crops, size, pairs, gpu):
    """An ordinary step waits for nothing; a step with a spectrum waits only for the spectrum."""
    monitor = CollapseMonitor(spectral_every=2)
    with gpu:
        for step in (1, 2, 3):
            z, t, negatives = fake(size), fake(size), fake((5, WIDTH))
            given = ([(z, t)], None) if pairs else (z, t)
            with NoWaits() if step == 2 else nullcontext():
                monitor.observe(
                    step, given[0], fake(()), target=given[1], crops=crops, negatives=negatives
                )
        for _, measured, spectral in monitor._on_device:
            assert devices(measured, *(spectral[1:] if spectral else ())) == {"cuda"}


@pytest.mark.parametrize("width", [WIDTH, 200])
def test_a_search_for_views_reads_what_was_computed_four_steps_before(width, gpu, monkeypatch):
    """Projectors are watched without a wait, and the form is judged by a copy that is long done."""
    network = nn.ModuleDict({"projector": nn.Linear(WIDTH, width)})
    watch = CollapseWatch(monitor=CollapseMonitor(spectral_every=1000)).attach(network)
    judged = []
    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None)
    monkeypatch.setattr(torch, "Event", lambda device: event)
    monkeypatch.setattr(pairing, "_found", lambda tested: judged.append(tested))
    with gpu:
        on_gpu(network)
        for step in range(1, 8):
            network["projector"](fake((N, WIDTH)))
            network["projector"](fake((N, WIDTH)))
            with nullcontext() if step == 1 else NoWaits():  # the first measures a spectrum
                watch.step(fake(()))
            assert len(judged) == max(step - 4, 0)
    for tested in judged:
        assert devices(*(form.sums for form in tested)) == {"cpu"}
        assert {form.sums.shape for form in tested} == {(3, 2 * v, 2 * v) for v in (1, 2, 4)}


@pytest.mark.parametrize("learns", [True, False])
def test_layer_monitor_waits_for_its_table_alone(learns, gpu, monkeypatch):
    learner = make("byol").float()
    monitor = LayerMonitor(layers_of(learner.encoder, projector=learner.projector), every=1)
    tables = []
    monkeypatch.setattr(
        FakeTensor, "tolist", lambda table: tables.append(table) or [[0.0] * 5] * len(table)
    )
    with gpu, NoWaits():
        for parameter in on_gpu(learner).parameters():
            parameter.grad = torch.empty_like(parameter) if learns else None
        monitor.start(1)
        learner.project(fake((N, 3, SIZE, SIZE)))
        learner.project(fake((N, 3, SIZE, SIZE)))
        assert len(monitor.measure(1)) == len(monitor.layers)
    assert len(tables) == 1
    assert devices(*tables) == {"cuda"}


def drawn(draw, mode):
    """Return a function that draws outside the mode, and brings the result into it."""

    def call(*given):
        with unset_fake_temporarily():
            return tree_map_only(torch.Tensor, mode.from_tensor, draw(*given))

    return call


@pytest.mark.parametrize("extra", AUGMENTATIONS)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("side", [6, 12])  # a view of 8 pixels enlarges one and shrinks the other
def test_views(extra, exact, side, gpu):
    """The parameters are drawn on the CPU, and all pixels are computed on the device."""
    view = ViewParameters(solarize=0.5, extra=[extra])
    views = Views({"view1": view, "view2": view}, 8, (0.5,) * 3, (0.5,) * 3, exact_colour=exact)
    for transform in itertools.chain(*views.views):
        transform.draw = drawn(transform.draw, gpu)
    with gpu, NoWaits():
        images = fake((N, 3, side, side), torch.uint8)
        assert devices(*views(images, Generator())) == {"cuda"}
