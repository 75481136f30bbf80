import pytest
import torch
from torch import nn

from ssl_norm.learners.views import per_view


def test_separate_gives_each_view_its_own_statistics():
    views = (torch.randn(8, 3), torch.randn(8, 3) + 5)
    for out in per_view(nn.BatchNorm1d(3), views, "separate"):
        torch.testing.assert_close(out.mean(0), torch.zeros(3), rtol=0, atol=1e-5)


def test_joint_shares_them():
    views = (torch.randn(8, 3), torch.randn(8, 3) + 5)
    first, second = per_view(nn.BatchNorm1d(3), views, "joint")
    torch.testing.assert_close((first + second).mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    assert (second.mean(0) - first.mean(0) > 1).all()
    torch.testing.assert_close(
        torch.cat([first, second]), nn.BatchNorm1d(3)(torch.cat(views)), rtol=1e-6, atol=1e-6
    )


def test_the_same_without_batch_statistics():
    views = (torch.randn(8, 3), torch.randn(8, 3))
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    for separate, joint in zip(
        *(per_view(network, views, p) for p in ("separate", "joint")), strict=True
    ):
        torch.testing.assert_close(separate, joint)


def test_unknown_policy():
    with pytest.raises(ValueError, match=r"unknown view_statistics 'join'.*did you mean 'joint'"):
        per_view(nn.Identity(), (torch.zeros(1), torch.zeros(1)), "join")
