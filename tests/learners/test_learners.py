"""What every learner promises."""

import copy
import re

import pytest
import torch

from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner, heads_of
from ssl_norm.signature import REQUIRED, check_options, options_of
from tests.learners.toy import WIDTH, make, views

CASES = [(name, {}) for name in METHODS] + [("moco_v2", {"symmetric": True})]


@pytest.mark.parametrize("name", METHODS)
def test_declares_heads_and_options(name):
    learner = METHODS.load(name)
    assert issubclass(learner, Learner)
    assert heads_of(learner)[0] == "projector"
    assert re.search(r"Source: .*arXiv", learner.__doc__)
    options = options_of(learner)
    assert all(option.text for option in options.values())
    defaults = {n: o.default for n, o in options.items() if o.default is not REQUIRED}
    required = dict.fromkeys(options.keys() - defaults, 8)
    assert check_options(learner, defaults | required, name) == defaults | required
    for option, found in (("view_statistics", "both"), ("temperature", 0), ("ema_decay", 1.5)):
        if option in options:
            with pytest.raises(ValueError, match=rf"{option}.*{found}"):
                check_options(learner, {**required, option: found}, name)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_loss_of_constant_embeddings_is_the_one_at_collapse(name, options):
    learner = make(name, constant=True, **options)
    for step in range(24 // 4):  # fill the queue
        learner.after_backward(learner(*views(step)))
    output = learner(*views())
    assert output.loss.item() == pytest.approx(learner.loss_at_collapse(4), abs=1e-12)
    assert output.scalars.get("contrastive_accuracy", 0) == 0


@pytest.mark.parametrize(("name", "options"), CASES)
def test_pairs_are_detached_rows_of_both_views(name, options):
    output = make(name, **options)(*views(N=4))
    assert output.loss.shape == ()
    assert output.loss.requires_grad
    for online, target in output.pairs:
        assert online.shape == target.shape == (4, WIDTH)
        assert not online.requires_grad
        assert not target.requires_grad


@pytest.mark.parametrize(("name", "options"), CASES)
def test_gradient_equals_finite_differences(name, options, monkeypatch):
    learner = make(name, **options)
    batch, stopped, detach = views(), [], torch.Tensor.detach
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "detach", lambda z: stopped.append(detach(z)) or stopped[-1])
        loss = learner(*batch).loss
    loss.backward()
    for parameter in (learner.encoder[0].weight, learner.projector[-1].weight):
        direction = torch.randn_like(parameter)
        step = 1e-6
        losses = []
        for sign in (1, -1):
            moved = copy.deepcopy(learner)
            twin = dict(moved.named_parameters())[_name_of(learner, parameter)]
            with torch.no_grad():
                twin.add_(sign * step * direction)
            with monkeypatch.context() as patch:  # what gradients stop at is a constant
                again = iter(stopped)
                patch.setattr(torch.Tensor, "detach", lambda z: next(again))  # noqa: B023
                loss = moved(*batch).loss
            losses.append(loss.item())
        slope = (losses[0] - losses[1]) / (2 * step)
        expected = (parameter.grad * direction).sum().item()
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-9)


def _name_of(learner, parameter):
    return next(name for name, other in learner.named_parameters() if other is parameter)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_only_the_target_is_without_gradients(name, options):
    learner = make(name, **options)
    learner(*views()).loss.backward()
    for parameter_name, parameter in learner.named_parameters():
        learns = not parameter_name.startswith("target.")
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == learns


@pytest.mark.parametrize(("name", "options"), CASES)
def test_joint_and_separate_agree_without_batch_statistics(name, options):
    if name == "moco_v2" and not options:
        pytest.skip("each network sees one view")
    separate, joint = (
        make(name, **options, view_statistics=policy)(*views()) for policy in ("separate", "joint")
    )
    torch.testing.assert_close(separate.loss, joint.loss)


@pytest.mark.parametrize("name", ["byol", "simclr"])
def test_joint_and_separate_differ_with_batch_statistics(name):
    separate, joint = (
        make(name, norm="bn", view_statistics=policy)(*views()).loss.item()
        for policy in ("separate", "joint")
    )
    assert abs(separate - joint) > 1e-6


@pytest.mark.parametrize("name", METHODS)
def test_unknown_view_statistics(name):
    with pytest.raises(ValueError, match="unknown view_statistics 'both'"):
        make(name, view_statistics="both")


@pytest.mark.parametrize(("name", "options"), CASES)
def test_projections_are_widened_under_autocast(name, options):
    learner = make(name, **options).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = learner(*(view.float() for view in views()))
    assert output.loss.dtype == torch.float32
    assert all(z.dtype == torch.float32 for pair in output.pairs for z in pair)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_state_dict_round_trip(name, options):
    learner = make(name, **options)
    output = learner(*views())
    learner.after_backward(output)
    learner.after_step(0.5)
    again = make(name, **options)
    again.load_state_dict(learner.state_dict())
    losses = []
    for twin in (again, learner):
        torch.manual_seed(0)  # keys are shuffled
        losses.append(twin(*views(1)).loss)
    assert torch.equal(*losses)
