"""Fine-tuning loop: statistics of ubn, rows, scores, freezing, exact resumption."""

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_norm.data.batches.labelled_batches import LabelledBatch
from ssl_norm.norms.batch.freezing import FrozenStatistics
from ssl_norm.norms.layers.unsupervised_batch_norm import UnsupervisedBatchNorm
from ssl_norm.train.finetuning import FinetuningRun, labelled_logits
from ssl_norm.train.loop import train

IMAGES = torch.randint(0, 256, (48, 3, 2, 2), generator=torch.Generator().manual_seed(0)).byte()
LABELS = torch.arange(48) % 3


def make_model(norm=None):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 6), norm or nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)
    ).double()


def make_views(images, generator):
    noise = torch.rand(images.shape, generator=generator, dtype=torch.float64)
    return (images.double() / 255 + 0.1 * noise,)


def batches(first=0, unlabelled=False):
    for step in range(first, 6):
        rows = slice(8 * step, 8 * step + 8)
        beside = IMAGES.flip(0)[rows] if unlabelled else None
        yield LabelledBatch(IMAGES[rows], LABELS[rows], beside)


def make_run(model=None, first_step=0, **changes):
    model = model or make_model()
    settings = {
        "network": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9),
        "batches": batches(first_step),
        "make_views": make_views,
        "learning_rate": lambda step: 0.1 / (step + 1),
        "autocast": nullcontext,
        "joint_gradient": False,
        "seed": 0,
        "first_step": first_step,
        "steps": 6,
        "log_every": 4,
        "score_every": 3,
        "save_every": 5,
        "frozen_from": 6,
    }
    return FinetuningRun(**(settings | changes))


def nothing(_):
    """Ignore the arguments."""


def by_hand(model, labelled, joint, joint_gradient=True):
    """Return the logits of labelled inputs with mean and biased variance of a joint batch."""
    _, first, norm, _, last = model
    hidden = first(joint.flatten(1))
    hidden = hidden if joint_gradient else hidden.detach()
    mean, variance = hidden.mean(0), (hidden - hidden.mean(0)).square().mean(0)
    normed = (first(labelled.flatten(1)) - mean) / (variance + norm.eps).sqrt()
    return last((normed * norm.weight + norm.bias).relu())


@pytest.mark.parametrize("joint_gradient", [False, True])
def test_logits_have_the_statistics_of_the_joint_batch(joint_gradient):
    model = make_model(UnsupervisedBatchNorm(6)).train()
    labelled, unlabelled = torch.randn(4, 3, 2, 2).double(), 2 + torch.randn(16, 3, 2, 2).double()
    found = labelled_logits(model, labelled, unlabelled, joint_gradient)
    torch.testing.assert_close(found, by_hand(model, labelled, torch.cat([labelled, unlabelled])))
    hidden = model[1](torch.cat([labelled, unlabelled]).flatten(1))
    torch.testing.assert_close(model[2].running_mean, 0.1 * hidden.mean(0))  # moved once
    assert int(model[2].num_batches_tracked) == 1


def test_the_gradient_flows_through_the_statistics_where_it_is_asked_for():
    labelled, unlabelled = torch.randn(4, 3, 2, 2).double(), torch.randn(16, 3, 2, 2).double()
    gradients = {}
    for joint_gradient in (False, True):
        model = make_model(UnsupervisedBatchNorm(6)).train()
        labelled_logits(model, labelled, unlabelled, joint_gradient).square().sum().backward()
        gradients[joint_gradient] = model[1].weight.grad
        expected, joint = make_model(UnsupervisedBatchNorm(6)), torch.cat([labelled, unlabelled])
        by_hand(expected, labelled, joint, joint_gradient).square().sum().backward()
        torch.testing.assert_close(gradients[joint_gradient], expected[1].weight.grad)
    assert not torch.allclose(gradients[False], gradients[True])


def test_the_pass_without_gradients_takes_none_from_the_step_under_autocast():
    labelled, unlabelled = torch.randn(4, 3, 2, 2), torch.randn(16, 3, 2, 2)
    gradients = {}
    for enabled in (False, True):
        model = make_model(UnsupervisedBatchNorm(6)).float().train()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = labelled_logits(model, labelled, unlabelled, False)
        logits.float().square().sum().backward()
        gradients[enabled] = [model[index].weight.grad for index in (1, 2, 4)]
    for full, half in zip(*gradients.values(), strict=True):
        assert half is not None
        assert (full - half).norm() < 0.05 * full.norm()


def test_rows_scores_and_checkpoints_come_when_they_should():
    rows, scored, saved = [], [], []
    train(make_run(), rows.append, saved.append, scored.append)
    assert [row["step"] for row in rows] == [3, 4, 5, 6]
    assert (scored, saved) == ([3], [5, 6])  # the last score is the caller's
    assert [row["lr"] for row in rows] == pytest.approx([0.1 / 3, 0.1 / 4, 0.1 / 5, 0.1 / 6])
    assert list(rows[0]) == ["step", "loss", "lr", "train_top1", "images_per_second"]


def test_a_row_has_the_means_of_cross_entropy_and_accuracy():
    run, rows = make_run(learning_rate=lambda step: 0.0, frozen_from=0), []
    model, seen = copy.deepcopy(run.network).eval(), []
    run.make_views = lambda images, generator: (
        seen.append(make_views(images, generator)) or seen[-1]
    )
    train(run, rows.append, nothing)
    logits = torch.cat([model(view) for (view,) in seen[:3]]).detach()
    assert rows[0]["loss"] == pytest.approx(float(F.cross_entropy(logits, LABELS[:24])))
    assert rows[0]["train_top1"] == pytest.approx(
        float((logits.argmax(1) == LABELS[:24]).double().mean())
    )


def test_each_step_has_its_own_views_whatever_step_a_run_begins_at():
    def drawn(first_step):
        seen = []

        def views(images, generator):
            seen.append(float(torch.rand((), generator=generator)))
            return (images.double() / 255,)

        train(make_run(first_step=first_step, make_views=views), nothing, nothing)
        return seen

    whole = drawn(0)
    assert len(set(whole)) == len(whole) == 6
    assert drawn(2) == whole[2:]


@pytest.mark.parametrize("first_step", [5, 6])
def test_statistics_are_frozen_in_a_run_that_goes_on_late_or_was_cut_off_after_its_last_step(
    first_step,
):
    run = make_run(first_step=first_step, frozen_from=4)
    train(run, nothing, nothing)
    assert isinstance(run.network[2], FrozenStatistics)
