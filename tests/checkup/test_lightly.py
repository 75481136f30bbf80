"""Loops around modules of lightly, as in its examples: BYOL and MoCo."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from ssl_norm.checkup import doctor
from tests.checkup.loops import pictures, two_views

pytest.importorskip("lightly")

from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models import modules
from lightly.models.utils import (
    batch_shuffle,
    batch_unshuffle,
    deactivate_requires_grad,
    update_momentum,
)


class Momentum(nn.Module):
    """Encoder, projection head and their momentum copies; BYOL has a prediction head."""

    def __init__(self, *, predicts: bool) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()]
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        kind = modules.BYOLProjectionHead if predicts else modules.MoCoProjectionHead
        self.projection_head = kind(64, 64, 32)
        head = modules.BYOLPredictionHead(32, 64, 32) if predicts else nn.Identity()
        self.prediction_head = head
        self.backbone_momentum = deepcopy(self.backbone)
        self.projection_head_momentum = deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def forward(self, view: Tensor) -> Tensor:
        return self.prediction_head(self.projection_head(self.backbone(view)))

    def keys(self, view: Tensor) -> Tensor:
        return self.projection_head_momentum(self.backbone_momentum(view)).detach()

    def follow(self, *, head: bool = True) -> None:
        update_momentum(self.backbone, self.backbone_momentum, m=0.99)
        if head:
            update_momentum(self.projection_head, self.projection_head_momentum, m=0.99)


def loop(method: str, *, head: bool = True):
    """Return model, step and criterion of BYOL, or of MoCo with shuffled keys and a queue."""
    is_byol = method == "byol"
    model = Momentum(predicts=is_byol)
    criterion = NegativeCosineSimilarity() if is_byol else NTXentLoss(memory_bank_size=(96, 32))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)

    def step(batch):
        (first, second), _ = batch
        model.follow(head=head)
        if is_byol:
            views = ((first, second), (second, first))
            loss = sum(criterion(model(one), model.keys(other)) for one, other in views)
        else:
            query = model(first)
            shuffled, order = batch_shuffle(second)
            loss = criterion(query, batch_unshuffle(model.keys(shuffled), order))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return model, step, criterion


def batches() -> list:
    return [(two_views(pictures(32)), torch.randint(10, (32,))) for _ in range(3)]


@pytest.mark.parametrize("method", ["byol", "moco"])
def test_loops_of_lightly_pass_and_are_restored(method):
    torch.manual_seed(0)
    model, step, criterion = loop(method)
    before = deepcopy([model.state_dict(), criterion.state_dict()])
    found = doctor(model, step, batches=batches())
    states = {name: result.state for name, result in found.items()}
    unclear = {"synchronized_statistics"} | ({"views_match"} if method == "moco" else set())
    assert {name for name, state in states.items() if state != "pass"} == unclear
    for old, new in zip(before, [model.state_dict(), criterion.state_dict()], strict=True):
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_head_that_is_not_updated_is_named():
    model, step, _ = loop("byol", head=False)
    found = doctor(model, step, batches=batches())["target_moves"]
    assert found.state == "warn"
    assert "projection_head_momentum" in found.line
