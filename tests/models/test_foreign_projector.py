import pytest
import torch
from torch import nn

from ssl_norm.models.foreign_projector import find_projector
from tests.models.files import prefixed


@pytest.fixture
def head():
    torch.manual_seed(0)
    mlp = nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 4),
        nn.BatchNorm1d(4, affine=False),
    )
    mlp(3 + torch.randn(32, 6))  # other statistics than the initial ones
    return mlp.eval()


@pytest.mark.parametrize(
    ("prefix", "place"),
    [
        ("backbone.", "projector."),
        ("backbone.", "projection_head.layers."),
        ("model.", "projection_model.net."),
        ("module.encoder_q.", "module.encoder_q.fc."),
        ("online_encoder.net.", "online_encoder.projector.net."),
        ("", "projector."),
    ],
)
def test_a_plain_mlp_is_found_next_to_its_encoder(head, prefix, place):
    weights = {f"{prefix}conv1.weight": torch.zeros(1)} | prefixed(head.state_dict(), place)
    found = find_projector(weights, prefix, 6)
    assert found.name is not None
    assert place.startswith(found.name)
    x = torch.randn(5, 6)
    assert torch.equal(found.head(x), head(x))


def test_a_single_layer():
    layer = nn.Linear(6, 4)
    found = find_projector(prefixed(layer.state_dict(), "projector."), "encoder.", 6)
    x = torch.randn(5, 6)
    assert torch.equal(found.head(x), layer(x))


def test_a_file_without_a_projector_or_with_a_classifier():
    assert find_projector({"conv1.weight": torch.zeros(1)}, "", 6) == (None, None)
    assert find_projector(prefixed(nn.Linear(6, 10).state_dict(), "fc."), "", 6) == (None, None)


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Linear(7, 8)),
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(9, 4)),
        nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 4)),
        nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)),
        nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.Linear(8, 8))),
    ],
    ids=["another width", "widths that do not follow", "layer norm", "two left out", "nested"],
)
def test_a_projector_that_is_no_plain_mlp_is_named_and_not_built(other):
    found = find_projector(prefixed(other.state_dict(), "projector."), "encoder.", 6)
    assert found == ("projector", None)
