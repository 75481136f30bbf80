import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.learners.byol import BYOL
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.train.loop import seed_step, train
from ssl_norm.train.pretraining import PretrainingRun

IMAGES = torch.randint(0, 256, (64, 3, 2, 2), generator=torch.Generator().manual_seed(0)).byte()


def make_run(batch_size=16, accumulate=1, first_step=0, steps=4, norm=None, **changes):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), norm or nn.Identity()).double()
    learner = BYOL(encoder, nn.Linear(6, 4).double(), nn.Linear(4, 4).double())
    settings = {
        "network": learner,
        "optimizer": torch.optim.SGD(learner.parameters(), lr=0.0, momentum=0.9),
        "batches": iter(IMAGES.split(batch_size)),
        "make_views": lambda images, generator: (images.double() / 255, images.flip(2).double()),
        "monitor": CollapseMonitor(),
        "learning_rate": lambda step: 0.1 / (step + 1),
        "autocast": nullcontext,
        "seed": 0,
        "first_step": first_step,
        "steps": steps,
        "schedule_steps": steps,
        "steps_per_epoch": 2,
        "accumulate": accumulate,
        "log_every": 3,
        "save_every": 2,
        "frozen_from": steps,
    }
    return PretrainingRun(**(settings | changes))


def test_rows_and_checkpoints_come_when_they_should():
    rows, saved = [], []
    train(make_run(), rows.append, saved.append)
    assert [row["step"] for row in rows] == [2, 3, 4]
    assert saved == [2, 4]
    assert [row["epoch"] for row in rows] == [1.0, 1.5, 2.0]
    assert [row["lr"] for row in rows] == pytest.approx([0.05, 0.1 / 3, 0.025])


def test_the_monitor_counts_steps_from_1():
    run = make_run(monitor=CollapseMonitor(spectral_every=1))
    train(run, lambda row: None, lambda step: None)
    assert [snapshot.step for snapshot in run.monitor.take_snapshots()] == [1, 2, 3, 4]


def test_accumulated_batches_make_the_step_of_one_large_batch():
    whole, parts = make_run(16), make_run(8, accumulate=2)
    for run in (whole, parts):
        train(run, lambda row: None, lambda step: None)
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_target_follows_after_the_step_by_the_share_done():
    used, followed, shares = [], [], []

    class Watched(BYOL):
        def forward(self, view1, view2):
            used.append(self.encoder[1].weight.detach().clone())
            return super().forward(view1, view2)

        def after_step(self, progress):
            followed.append(self.encoder[1].weight.detach().clone())
            shares.append(progress)
            super().after_step(progress)

    run = make_run(schedule_steps=8)
    run.network.__class__ = Watched
    train(run, lambda row: None, lambda step: None)
    assert shares == [0, 1 / 8, 2 / 8, 3 / 8]
    assert all(map(torch.equal, followed, used[1:]))
    assert not any(map(torch.equal, followed, used))


def test_each_batch_has_its_own_views_whatever_step_a_run_begins_at():
    def drawn(first_step: int) -> list[float]:
        seen = []

        def views(images, generator):
            seen.append(float(torch.rand((), generator=generator)))
            return images.double() / 255, images.double() / 255

        run = make_run(8, accumulate=2, first_step=first_step, make_views=views)
        train(run, lambda row: None, lambda step: None)
        return seen

    whole = drawn(0)
    assert len(set(whole)) == len(whole) == 8
    assert drawn(2) == whole[4:]


def test_randomness_of_a_step_depends_on_seed_step_and_part_alone():
    generator = torch.Generator()

    def drawn(*numbers):
        seed_step(generator, *numbers)
        return float(torch.rand((), generator=generator)), float(torch.rand(()))

    assert drawn(0, 5, 0) == drawn(0, 5, 0)
    assert (
        len({drawn(*numbers)[0] for numbers in ((0, 5, 0), (1, 5, 0), (0, 6, 0), (0, 5, 1))}) == 4
    )
    assert drawn(0, 5, 0)[0] != drawn(0, 5, 0)[1]


def make_normed_run(**changes):
    return make_run(norm=nn.BatchNorm1d(6), save_every=1, **changes)


def statistics(saved):
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {key: value for key, value in saved["learner"].items() if key.endswith(names)}


def train_watched(run, saved):
    train(run, lambda row: None, lambda step: saved.update({step: copy.deepcopy(run.state())}))


@pytest.mark.parametrize("frozen_from", [0, 2, 3, 4])
def test_statistics_stop_moving_at_the_step_that_is_asked_for(frozen_from):
    run = make_normed_run(frozen_from=frozen_from)
    saved = {0: copy.deepcopy(run.state())}
    train_watched(run, saved)
    for step in range(4):
        before, after = statistics(saved[step]), statistics(saved[step + 1])
        assert len(before) == 6  # of the encoder and its target
        stood = [torch.equal(value, after[key]) for key, value in before.items()]
        assert all(stood) if step >= frozen_from else not any(stood)
        weight = "encoder.2.weight"
        assert not torch.equal(saved[step]["learner"][weight], saved[step + 1]["learner"][weight])


@pytest.mark.parametrize("first_step", [1, 2, 3])
def test_resuming_before_at_and_after_the_freeze_equals_the_uninterrupted_run(first_step):
    saved, again = {}, {}
    train_watched(make_normed_run(frozen_from=2), saved)
    batches = iter(IMAGES.split(16)[first_step:])
    run = make_normed_run(frozen_from=2, first_step=first_step, batches=batches)
    run.load_state(saved[first_step])
    train_watched(run, again)
    for key, value in saved[4]["learner"].items():
        assert torch.equal(value, again[4]["learner"][key]), key
    rings = [checkpoint[4]["monitor"].pop("recent")["ring"] for checkpoint in (saved, again)]
    assert torch.equal(*rings)
    assert repr(saved[4]["monitor"]) == repr(again[4]["monitor"])


WRONG_OUTPUTS = {
    "Tensor": lambda output: output.loss,
    r"loss \(\) and 0 pairs": lambda output: output._replace(pairs=()),
    r"loss \(1,\) and 2 pairs": lambda output: output._replace(loss=output.loss[None]),
}


@pytest.mark.parametrize("found", WRONG_OUTPUTS)
def test_a_learner_that_returns_something_else_is_one_line(found):
    class Other(BYOL):
        def forward(self, view1, view2):
            return WRONG_OUTPUTS[found](super().forward(view1, view2))

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 6)).double()
    learner = Other(encoder, nn.Linear(6, 4).double(), nn.Linear(4, 4).double())
    with pytest.raises(UserError, match=f"forward of Other returned {found}; expected"):
        train(make_run(network=learner), lambda row: None, lambda step: None)
