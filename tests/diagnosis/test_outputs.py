import pytest
import torch
from torch import nn

from ssl_norm.diagnosis.outputs import Network, collect_outputs, draw_views
from ssl_norm.errors import UserError
from tests.evaluate.problems import coloured_images

IMAGES = coloured_images(23, 8, 4, seed=0)


def make_network():
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return Network(encoder, nn.Linear(6, 4), nn.Linear(4, 4))


def make_views(pixels, generator):
    noise = torch.rand(2, *pixels.shape, generator=generator)
    return pixels / 255 + noise[0], pixels / 255 + noise[1]


def collect(network, make_views=make_views, **settings):
    options = {"samples": 23, "views": 2, "batch_size": 11, "seed": 0}
    options |= {"device": torch.device("cpu"), "description": ""}
    return collect_outputs(network, draw_views(IMAGES, make_views, **(options | settings)))


def test_outputs_of_all_views_and_layers():
    network = make_network()
    outputs = collect(network, views=3, samples=20)
    assert outputs.features.shape == (3, 20, 6)
    assert outputs.projections.shape == (3, 20, 4)
    assert list(outputs.layers) == ["encoder.0", "encoder.1", "encoder", "projector", "predictor"]
    for view in range(2):
        assert torch.equal(outputs.layers["encoder"][view], outputs.features[view])
        assert torch.equal(outputs.layers["projector"][view], outputs.projections[view])
        expected = network.projector(outputs.features[view])
        assert torch.allclose(outputs.projections[view], expected, atol=1e-6)


def test_the_network_is_unchanged_and_equal_seeds_give_equal_outputs():
    network = make_network()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    first, second = collect(network), collect(network)
    assert torch.equal(first.features, second.features)
    assert all(before[name].equal(value) for name, value in network.encoder.state_dict().items())
    assert network.encoder.training
    assert not any(module._forward_hooks for module in network.encoder.modules())


def test_a_last_batch_of_one_image_joins_the_one_before():
    sizes = []

    def watched(pixels, generator):
        sizes.append(len(pixels))
        return make_views(pixels, generator)

    outputs = collect(Network(make_network().encoder), watched)  # an encoder alone
    assert sizes == [11, 12]
    assert outputs.projections is None
    assert list(outputs.layers) == ["encoder.0", "encoder.1", "encoder"]
    with pytest.raises(UserError, match=r"1 image\(s\) found"):
        collect(make_network(), samples=1)


def test_outputs_that_are_not_finite():
    network = make_network()
    nn.init.constant_(network.projector.bias, torch.nan)
    first = r"projections that are not finite: projector\.bias is its first tensor"
    with pytest.raises(UserError, match=first):
        collect(network)
    assert not any(module._forward_hooks for module in network.encoder.modules())
    network = make_network()  # finite weights that overflow
    nn.init.constant_(network.encoder[0].weight, 3e38)
    with pytest.raises(UserError, match="features that are not finite: all its tensors are finite"):
        collect(network)
