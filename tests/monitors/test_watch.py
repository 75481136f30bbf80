"""`attach` in plain loops, compared with embeddings that the loops record."""

import warnings

import pytest
import torch
from torch import nn

from ssl_norm.errors import CollapseStop
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.watch import CollapseWatch, attach
from tests.monitors.samples import streamed, streamed_means

BATCH, STEPS = 64, 6


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(12, 32), nn.ReLU())
        self.projector = nn.Linear(32, 8)
        self.target_projector = nn.Linear(32, 8).requires_grad_(False)
        self.target_projector.load_state_dict(self.projector.state_dict())

    def embed(self, *views):
        features = [self.backbone(view) for view in views]
        online = [self.projector(rows) for rows in features]
        return online, [self.target_projector(rows) for rows in features]


def views(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(BATCH, 12, generator=generator)
    return [images + 0.1 * torch.randn(BATCH, 12, generator=generator) for _ in range(count)]


def optimizer_of(network):
    return torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=0.05)


def train(network, optimizer, loss_of, steps=STEPS, backward=torch.Tensor.backward):
    recorded = []
    for step in range(steps):
        loss, pairs = loss_of(network, step)
        optimizer.zero_grad()
        backward(loss)
        optimizer.step()
        recorded.append([tuple(z.detach() for z in pair) for pair in pairs])
    return recorded


def byol(network, step):
    (o1, o2), (t1, t2) = network.embed(*views(step))
    return (o1 - t2).square().mean() + (o2 - t1).square().mean(), [(o1, t2), (o2, t1)]


def byol_with_a_look_at_other_images(network, step):
    loss, pairs = byol(network, step)
    with torch.no_grad():
        network.embed(*views(step + 100, 1))
    network.eval()
    network.embed(*views(step, 1))
    network.train()
    return loss, pairs


def simclr_in_one_call(network, step):
    z1, z2 = network.projector(network.backbone(torch.cat(views(step)))).chunk(2)
    return (z1 - z2).square().mean(), [(z1, z2)]


@pytest.mark.parametrize("loop", [byol, byol_with_a_look_at_other_images, simclr_in_one_call])
def test_values_are_those_of_the_embeddings_once_the_form_is_known(loop):
    torch.manual_seed(0)
    network, logged = Network(), []
    optimizer = optimizer_of(network)
    watch = attach(network, optimizer, log=lambda *row: logged.append(row), log_every=1)
    recorded = train(network, optimizer, loop)
    known = [(row, step) for row, step in logged if "positive_cosine" in row]
    assert [step for _, step in logged] == list(range(1, STEPS + 1))
    assert len(known) >= STEPS - 3
    for row, step in known:
        expected = streamed_means([recorded[step - 1]])
        assert streamed(row) == pytest.approx(expected, abs=1e-6)
    watch.detach()
    assert not any(module._forward_hooks for module in network.modules())


def test_the_training_is_the_same_without_it():
    networks = [Network(), Network()]
    networks[1].load_state_dict(networks[0].state_dict())
    for network, watched in zip(networks, (True, False), strict=True):
        optimizer = optimizer_of(network)
        if watched:
            attach(network, optimizer, layers={"encoder": network.backbone}, layers_every=2)
        train(network, optimizer, byol)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)


def steps_by_closure(optimizer, backward):
    optimizer.step(backward)


def steps_twice(optimizer, backward):
    backward()
    optimizer.step()
    optimizer.step()


@pytest.mark.parametrize("step_of", [steps_by_closure, steps_twice])
def test_every_batch_is_measured_once(step_of):
    network, recorded, logged = Network(), [], []
    optimizer = optimizer_of(network)
    options = {"log": lambda values, step: logged.append(values), "log_every": 1, "joint": False}
    watch = attach(network, optimizer, **options)
    for step in range(STEPS):

        def backward(step=step):
            loss, pairs = byol(network, step)
            optimizer.zero_grad()
            loss.backward()
            recorded.append([tuple(z.detach() for z in pair) for pair in pairs])
            return loss

        step_of(optimizer, backward)
    assert watch.steps == STEPS
    for values, pairs in zip(logged, recorded, strict=True):
        assert streamed(values) == pytest.approx(streamed_means([pairs]), abs=1e-6)


def test_copies_in_threads_are_refused():
    network = Network()
    attach(network, optimizer_of(network))
    network.projector._is_replica = True  # as nn.DataParallel marks the copies on several devices
    with pytest.raises(ValueError, match="DataParallel runs copies of online in threads"):
        byol(network, 0)


def collapsed(network, step):
    loss, pairs = byol(network, step)
    return 0 * loss, [(torch.ones_like(z), torch.ones_like(t)) for z, t in pairs]


def constant_network():
    network = Network()
    for head in (network.projector, network.target_projector):
        nn.init.zeros_(head.weight)
    return network


def test_a_collapse_warns_and_stops_the_loop():
    network = constant_network()
    optimizer = optimizer_of(network)
    options = {"on_collapse": "stop", "log_every": 2, "monitor": CollapseMonitor(patience=3)}
    watch = attach(network, optimizer, **options)
    with (
        pytest.warns(UserWarning, match="complete collapse since step 1: negative cosine 1.0000"),
        pytest.raises(CollapseStop, match="complete collapse: negative cosine"),
    ):
        train(network, optimizer, collapsed)
    assert watch.steps == 4


def test_a_collapse_that_stays_warns_once():
    network = constant_network()
    optimizer = optimizer_of(network)
    attach(network, optimizer, log_every=1, monitor=CollapseMonitor(patience=3))
    with pytest.warns(UserWarning, match="complete collapse since step 1") as found:
        train(network, optimizer, collapsed)
    assert len(found) == 1


def test_a_loop_without_two_views_is_named_once():
    network = Network()
    optimizer = optimizer_of(network)
    watch = attach(network, optimizer, target="none")

    def classifier(network, step):
        z = network.projector(network.backbone(torch.randn(64, 12)))
        return z.square().mean(), []

    with pytest.warns(UserWarning, match="no two outputs of the projectors match") as found:
        train(network, optimizer, classifier, steps=102)
    assert len(found) == 1
    assert "positive_cosine" not in watch.judge()


def test_projectors_may_be_given_as_modules():
    student, teacher = Network(), Network()
    optimizer = optimizer_of(student)
    options = {"online": student.projector, "target": teacher.projector, "log_every": 1}
    watch = attach(student, optimizer, joint=False, **options)

    def loss_of(network, step):
        x1, x2 = views(step)
        z, t = student.embed(x1)[0][0], teacher.embed(x2)[0][0].detach()
        return (z - t).square().mean(), [(z, t)]

    ((pair,),) = train(student, optimizer, loss_of, steps=1)
    assert streamed(watch.monitor.collect()) == pytest.approx(streamed_means([[pair]]), abs=1e-6)


def test_a_projector_that_is_not_called_and_wrong_options_are_one_line():
    network = Network()
    optimizer = optimizer_of(network)
    attach(network, optimizer, online="backbone.0")
    network.backbone(views(0)[0]).sum()
    attach(network, optimizer, online="projector")
    with pytest.raises(ValueError, match="the projector projector was not called before"):
        optimizer.step()
    with pytest.raises(ValueError, match="on_collapse must be one of warn, stop, ignore"):
        CollapseWatch(on_collapse="halt")


def test_a_detached_watch_leaves_the_loop_alone():
    network = Network()
    optimizer = optimizer_of(network)
    watch = attach(network, optimizer)
    watch.detach()
    train(network, optimizer, byol, steps=1)
    assert watch.steps == 0


def test_a_wrapped_optimizer_is_unwrapped():
    class Wrapper(torch.optim.Optimizer):  # as Accelerate's, which does not call super().__init__
        def __init__(self, optimizer):
            self.optimizer = optimizer

    network = Network()
    optimizer = optimizer_of(network)
    watch = attach(network, Wrapper(Wrapper(optimizer)))
    with warnings.catch_warnings():
        train(network, optimizer, byol, steps=2)
    assert watch.steps == 2
