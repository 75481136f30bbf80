"""Checks of broken and sound loops, and restoration of loops to the bit."""

import copy
import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import ssl_norm
from ssl_norm.checkup import CHECKS, doctor, record
from ssl_norm.checkup.state import referred
from ssl_norm.learners import METHODS
from tests.checkup import loops
from tests.checkup.loops import arguments, pictures, two_views
from tests.learners.toy import make

# A check, a loop, and the state that the check finds. All pass the sound loop, if not said here.
CASES = [
    ("target_is_a_copy", loops.SharedTeacher, "fail"),
    ("target_moves", loops.StillTeacher, "fail"),
    ("target_moves", loops.SwappedFactors, "warn"),
    ("target_without_gradients", loops.TrainedTeacher, "fail"),
    ("frozen_statistics", loops.FrozenEncoder, "fail"),
    ("frozen_statistics", loops.EncoderInEvaluation, "pass"),
    ("rank_at_start", loops.ConstantOutputs, "fail"),
    ("rank_at_start", loops.OneDirection, "warn"),
    ("rank_at_start", loops.NearlyEqualOutputs, "warn"),
    ("optimizer_parameters", loops.NotHeld, "fail"),
    ("optimizer_parameters", loops.HeldForNothing, "warn"),
    ("optimizer_parameters", loops.HoldsAll, "pass"),
    ("views_differ", loops.IdenticalViews, "fail"),
    ("views_differ", loops.IdenticalViewsOfStages, "fail"),
    ("views_match", loops.ShiftedViews, "fail"),
    ("views_match", loops.ForeignViews, "fail"),
    ("pixels_normalized", loops.RawPixels, "fail"),
    ("ema_resumes", loops.ScheduleInPython, "fail"),
    ("ema_resumes", loops.ScheduleInBuffer, "pass"),
    ("ema_resumes", loops.FrozenBiases, "pass"),
    ("batch_of_statistics", {"N": 2}, "fail"),
    ("batch_of_statistics", {"norm": loops.ghost_norms}, "fail"),
]


@pytest.mark.parametrize(("name", "loop", "state"), CASES)
def test_a_check_finds_its_bug_and_passes_without_it(name, loop, state):
    result = doctor(**(arguments(**loop) if isinstance(loop, dict) else arguments(loop)))[name]
    assert (result.state, result.line != "") == (state, True), result


@pytest.mark.parametrize(("is_sorted", "state"), [(True, "fail"), (False, "pass")])
def test_batches_of_few_classes_are_found(is_sorted, state):
    assert doctor(**loops.with_labels(is_sorted=is_sorted))["mixed_batches"].state == state


def test_statistics_per_process_are_found(monkeypatch):
    monkeypatch.setattr(record, "world_size", lambda: 2)
    name = "synchronized_statistics"
    assert doctor(**arguments())[name].state == "warn"
    monkeypatch.setattr(nn.BatchNorm2d, "sync", True, raising=False)
    assert doctor(**arguments(norm=loops.SharedBatchNorm))[name].state == "pass"


def test_an_image_shares_no_class_with_itself():
    seen = SimpleNamespace(labels=[[0, 1], [1, 0], [1]], values={})
    state, line = CHECKS["mixed_batches"].find(seen)
    assert (state, line.partition(" ")[0]) == ("pass", "0%")


def test_a_sound_loop_has_nothing_but_passes():
    found = doctor(**arguments())
    unchecked = {"synchronized_statistics", "mixed_batches"}
    assert {name for name, result in found.items() if result.state != "pass"} == unchecked
    assert found.failed == []
    assert str(found).count("\n") == len(CHECKS) - 1
    assert ssl_norm.doctor is doctor


def test_checks_declare_meaning_repair_and_source_and_have_a_loop_with_their_bug():
    for check in CHECKS.values():
        assert all((check.meaning, check.repair))
        assert check.source.startswith("https://")
    broken = {name for name, _, state in CASES if state != "pass"}
    assert broken | {"synchronized_statistics", "mixed_batches"} == set(CHECKS)


def snapshot(learner: nn.Module) -> list:
    """Return everything that a step may change, in a fixed order."""
    modules = [
        (
            name,
            module.training,
            *(list(map(str, vars(module)[key])) for key in sorted(vars(module)) if "hooks" in key),
        )
        for name, module in learner.named_modules()
    ]
    tensors = [t for p in learner.state_dict(keep_vars=True).values() for t in (p, p.grad)]
    tensors += [t for state in learner.optimizer.state.values() for t in state.values()]
    hooks = [(p._backward_hooks, p._post_accumulate_grad_hooks) for p in learner.parameters()]
    values = [None if t is None else (id(t), t.detach().numpy().tobytes()) for t in tensors]
    legacy = str(np.random.get_state())  # noqa: NPY002 - the state that a loop may use
    chance = [random.getstate(), legacy, torch.get_rng_state().tolist()]
    return [modules, values, hooks, chance, vars(learner).get("updates"), learner.momentum]


@pytest.mark.parametrize("trained", [0, 2])
@pytest.mark.parametrize("fails", [False, True])
def test_the_loop_is_restored_to_the_bit(trained, fails):
    learner = arguments(loops.ScheduleInPython)["model"]
    learner.online.eval()
    calls = 0
    for _ in range(trained):
        learner.step(pictures(8))

    def step(images):
        nonlocal calls
        calls += 1
        learner.train()
        random.random()
        np.random.rand()  # noqa: NPY002
        learner.register_forward_hook(lambda *_: None)
        learner.step(images)
        if fails and calls == 2:
            raise RuntimeError("a bug of the loop")

    batches = [pictures(8) for _ in range(3)]
    before = snapshot(learner)
    if fails:
        with pytest.raises(RuntimeError, match="a bug of the loop"):
            doctor(learner, step, batches=batches)
    else:
        doctor(learner, step, batches=batches)
    after = snapshot(learner)
    for old, new in zip(before, after, strict=True):
        assert old == new
    assert calls == 0


def test_generators_and_loss_scalers_of_the_loop_are_restored():
    learner = arguments(loops.Byol)["model"]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    modern, old, plain = np.random.default_rng(0), np.random.RandomState(0), random.Random(0)

    def states():
        legacy = str(old.get_state())
        return [modern.bit_generator.state, legacy, plain.getstate(), scaler.state_dict()]

    def step(images):
        noise = modern.normal() + old.normal() + plain.random()
        learner.step(images + 1e-3 * noise)
        scaler.scale(learner.online(images).square().mean()).backward()
        scaler.step(learner.optimizer)
        scaler.update()

    before = states()
    doctor(learner, step, batches=[pictures(8) for _ in range(3)])
    assert states() == before


def test_memory_that_a_step_replaces_is_restored():
    given = arguments(loops.NewMemory)
    places = [p.data_ptr() for p in given["model"].parameters()]
    found = doctor(**given)
    assert found["target_moves"].line == "it changes, and keeps 0.9 of its value"
    assert [p.data_ptr() for p in given["model"].parameters()] == places


STRANGER, FRIEND = nn.Linear(3, 3), nn.Linear(3, 3)


def step():
    return STRANGER


def test_names_are_those_that_a_function_loads():
    optimizer = torch.optim.SGD(FRIEND.parameters(), lr=0.1)

    def loop():
        optimizer.step()  # not the function above
        return [FRIEND(x) for x in ()]

    found = referred(loop)
    assert (found["optimizer"], found["FRIEND"]) == (optimizer, FRIEND)
    assert "STRANGER" not in found


def loop_of(learner: nn.Module):
    """Return a loop of one of our learners on random images."""
    optimizer = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=0.1)

    def step():
        output = learner(*(view.double() for view in two_views(pictures(12))))
        output.loss.backward()
        learner.after_backward(output)
        optimizer.step()
        optimizer.zero_grad()
        learner.after_step(0.1)

    return step


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", ["bn", "ln"])
def test_our_learners_pass(method, norm):
    learner = make(method, norm)
    found = doctor(learner, loop_of(learner), steps=4)
    assert [result for result in found.values() if result.state in ("warn", "fail")] == []
    passed = {name for name, result in found.items() if result.state == "pass"}
    assert {"optimizer_parameters", "views_differ", "pixels_normalized"} <= passed
    if method == "byol":
        assert {"target_moves", "views_match", "ema_resumes"} <= passed


def test_shuffled_keys_do_not_count_as_other_images():
    learner = make("moco_v2", "bn")
    found = doctor(learner, loop_of(learner), steps=8)
    assert "shuffled" in found["views_match"].line
    views = [None]
    step = loop_of(learner)
    learner.register_forward_pre_hook(lambda _, given: views.__setitem__(0, given))
    assert doctor(learner, step, views=lambda: views[0])["views_match"].state == "pass"


class Attention(nn.Module):
    """A network whose layers have names that are usual for targets."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.k_proj = nn.Linear(8, 8), nn.Linear(8, 8)


def test_layers_of_attention_are_no_target():
    network = nn.ModuleDict({"block": Attention(), "encoder_k": nn.Sequential(nn.Linear(3, 3))})
    assert record.find_targets({"": network}, None) == ["encoder_k"]
    with pytest.raises(ValueError, match=r"unknown submodule 'encoder_q'.*'encoder_k'"):
        record.find_targets({"": network}, "encoder_q")


@pytest.mark.parametrize("has_teacher", [False, True])
@pytest.mark.parametrize("joined", ["halves", "alternating"])
def test_views_in_one_tensor_are_told_apart_by_their_pixels(joined, has_teacher):
    encoder = loops.Network()
    teacher = copy.deepcopy(encoder).requires_grad_(False) if has_teacher else None
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)

    def step():
        first, second = two_views(pictures(32))
        both = torch.stack([first, second], 1 if joined == "alternating" else 0).flatten(0, 1)
        goal = teacher(both) if has_teacher else 0
        (encoder(both) - goal).square().mean().backward()
        optimizer.step()

    found = doctor(encoder, step)
    assert (found["views_match"].state, found["views_differ"].state) == ("pass", "pass")
    assert has_teacher or found["target_moves"].line.startswith("no target network was found")


def test_a_batch_of_one_is_reported_and_other_errors_are_raised():
    found = doctor(**arguments(N=1))
    assert found.failed == ["batch_of_statistics"]
    assert "Expected more than 1 value per channel" in found["views_differ"].line
    with pytest.raises(ValueError, match="batches: 2 found, expected at least steps=3"):
        doctor(**{**arguments(steps=2), "steps": 3})
    with pytest.raises(ValueError, match="steps must be at least 2"):
        doctor(**arguments(steps=1))


def test_networks_outside_of_the_model_are_found_by_their_variables():
    online, teacher = loops.Network(), loops.Network().requires_grad_(False)
    optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
    teacher.load_state_dict(online.state_dict())

    def step():
        first, second = two_views(pictures(16))
        with torch.no_grad():
            target = teacher(second)
        (online(first) - target).square().mean().backward()
        optimizer.step()

    assert doctor(online, step).failed == ["target_moves"]
    named = doctor(online, step, target=teacher, optimizer=optimizer)
    assert named.failed == ["target_moves"]


class WeightEMA:
    """An average of weights with a counter that no state dict has."""

    def __init__(self) -> None:
        self.updates = 0


class Trainer:
    """A loop as an object that is not a module, with activation checkpoints and a queue."""

    def __init__(self) -> None:
        self.student = loops.Network()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), 1e-2)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)
        self.global_step, self.losses, self.queue = 0, [], torch.zeros(3)
        self.average = WeightEMA()

    def step(self) -> None:
        first, second = two_views(pictures(24))
        features = checkpoint(self.student.encoder, first, use_reentrant=False)
        loss = (self.student.projector(features) - self.teacher(second)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.global_step += 1
        self.queue += loss.detach()
        self.losses.append(loss.item())
        for target, online in zip(
            self.teacher.parameters(), self.student.parameters(), strict=True
        ):
            target.lerp_(online.detach(), 0.1)


@pytest.mark.parametrize("form", ["method", "partial", "lambda"])
def test_a_trainer_object_is_followed_and_restored(form):
    trainer = Trainer()
    forms = {
        "method": trainer.step,
        "partial": partial(Trainer.step, trainer),
        "lambda": lambda: trainer.step(),
    }
    found = doctor(trainer.student, forms[form])
    assert found.failed == []
    assert (found["views_match"].state, found["ema_resumes"].state) == ("pass", "pass")
    assert (trainer.global_step, trainer.losses, trainer.queue.tolist()) == (0, [], [0, 0, 0])
    assert (trainer.scheduler.last_epoch, trainer.optimizer.param_groups[0]["lr"]) == (0, 1e-2)
    step = trainer.step

    def counting():
        step()
        trainer.average.updates += 1

    assert doctor(trainer.student, counting).failed == ["ema_resumes"]


def test_copies_of_a_network_in_a_step_work():
    learner = arguments()["model"]

    def step(images):
        copy.deepcopy(learner.online)(images)
        learner.step(images)

    assert doctor(learner, step, batches=[pictures(16)] * 3).failed == []
