"""Properties of every learner."""

import copy
import re

import pytest
import torch
from torch import nn

from ssl_norm.learners import METHODS
from ssl_norm.learners.learner import Learner
from ssl_norm.learners.views import per_view
from ssl_norm.norms import NORMS, parse_norm
from ssl_norm.settings.method import heads_of
from ssl_norm.signature import REQUIRED, check_options, options_of
from ssl_norm.train.device import autocast
from tests.learners.toy import WIDTH, make, views
from tests.reference.losses import nt_xent, regression_loss

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
        direction, step, losses = torch.randn_like(parameter), 1e-6, []
        for sign in (1, -1):
            moved = copy.deepcopy(learner)
            named = zip(learner.parameters(), moved.parameters(), strict=True)
            twin = next(twin for original, twin in named if original is parameter)
            with torch.no_grad():
                twin.add_(sign * step * direction)
            with monkeypatch.context() as patch:  # detached values are constants
                again = iter(stopped)
                patch.setattr(torch.Tensor, "detach", lambda z: next(again))  # noqa: B023
                loss = moved(*batch).loss
            losses.append(loss.item())
        slope = (losses[0] - losses[1]) / (2 * step)
        expected = (parameter.grad * direction).sum().item()
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_only_the_target_is_without_gradients(name, options):
    learner = make(name, **options)
    learner(*views()).loss.backward()
    for parameter_name, parameter in learner.named_parameters():
        learns = not parameter_name.startswith("target.")
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) == learns


@pytest.mark.parametrize("name", METHODS)
def test_joint_and_separate_differ_with_batch_statistics_and_others_are_refused(name):
    options = {"symmetric": True} if name == "moco_v2" else {}
    separate, joint = (
        make(name, norm="bn", view_statistics=policy, **options)(*views()).loss.item()
        for policy in ("separate", "joint")
    )
    assert abs(separate - joint) > 1e-6
    with pytest.raises(ValueError, match=r"unknown view_statistics 'join'.*did you mean 'joint'"):
        make(name, view_statistics="join", **options)(*views())


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("norm", [norm for norm in NORMS if parse_norm(norm).vectors])
def test_steps_under_autocast_are_finite_and_their_results_float32(name, options, norm):
    groups = {"groups": 2} if "groups" in parse_norm(norm).all_options else {}
    learner = make(name, norm={"name": norm, **groups}, **options).float()
    optimizer = torch.optim.SGD((p for p in learner.parameters() if p.requires_grad), lr=0.1)
    for step in range(2):
        with autocast(torch.device("cpu"), "bfloat16"):
            output = learner(*(view.float() for view in views(step, N=8)))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        learner.after_backward(output)
        learner.after_step(step / 2)
        found = [output.loss, *output.scalars.values(), *(z for pair in output.pairs for z in pair)]
        found += [p.grad for p in learner.parameters() if p.requires_grad]
        found += [value for value in learner.state_dict().values() if value.is_floating_point()]
        assert {value.dtype for value in found} == {torch.float32}
        assert all(value.isfinite().all() for value in found)


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


def test_loss_of_simclr_from_its_own_parts():
    learner = make("simclr", norm="bn", temperature=0.3).eval()
    z1, z2 = (learner.projector(learner.encoder(view)).detach() for view in views())
    output = learner(*views())
    expected = nt_xent(z1.numpy(), z2.numpy(), 0.3)
    torch.testing.assert_close(output.loss.item(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(output.pairs, ((z1, z2),))


def test_loss_of_byol_from_its_own_parts():
    learner = make("byol", norm="bn").eval()
    z1, z2 = z = [learner.projector(learner.encoder(view)).detach() for view in views()]
    p = [learner.predictor(projection).detach().numpy() for projection in z]
    t1, t2 = t = [learner.target(view) for view in views()]
    output = learner(*views())
    expected = regression_loss(p[0], t[1].numpy()) + regression_loss(p[1], t[0].numpy())
    torch.testing.assert_close(output.loss.item(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(output.pairs, ((z1, t2), (z2, t1)))


def test_target_starts_equal_and_follows_after_the_step():
    learner = make("byol", ema_decay=0.5, ema_schedule="constant")
    start = [p.clone() for p in learner.target.parameters()]
    online = [*learner.encoder.parameters(), *learner.projector.parameters()]
    assert all(map(torch.equal, start, online))
    with torch.no_grad():
        for parameter in online:
            parameter.add_(1.0)
    learner(*views())
    assert all(map(torch.equal, start, learner.target.parameters()))
    learner.after_step(0.1)
    for before, after in zip(start, learner.target.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), before + 0.5)


def test_separate_views_have_their_own_statistics_and_joint_ones_share_them():
    views = (torch.randn(8, 3), torch.randn(8, 3) + 5)
    for out in per_view(nn.BatchNorm1d(3), views, "separate"):
        torch.testing.assert_close(out.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    first, second = per_view(nn.BatchNorm1d(3), views, "joint")
    torch.testing.assert_close((first + second).mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    assert (second.mean(0) - first.mean(0) > 1).all()
    whole = nn.BatchNorm1d(3)(torch.cat(views))
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-6, atol=1e-6)
    views = (torch.randn(8, 3), torch.randn(8, 3))
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    separate, joint = (per_view(network, views, policy) for policy in ("separate", "joint"))
    torch.testing.assert_close(separate, joint)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_joint_and_separate_agree_without_batch_statistics(name, options):
    if name == "moco_v2" and not options:
        pytest.skip("each network sees one view")
    separate, joint = (
        make(name, **options, view_statistics=policy)(*views()) for policy in ("separate", "joint")
    )
    torch.testing.assert_close(separate.loss, joint.loss)
