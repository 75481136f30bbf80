import pytest
import torch

from ssl_norm.models.tiny import TinyResNet


@pytest.mark.parametrize(("width", "blocks"), [(8, 1), (4, 2)])
def test_features(width, blocks):
    encoder = TinyResNet(width, blocks)
    features = encoder(torch.randn(2, 3, 16, 16))
    assert features.shape == (2, encoder.num_features) == (2, 4 * width)


def test_every_weight_gets_a_gradient():
    encoder = TinyResNet(4)
    encoder(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_channels_last_gives_the_same_and_leaves_the_input_alone():
    torch.manual_seed(0)
    encoder = TinyResNet(8).double()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    before = x.clone()
    expected = encoder(x)
    found = encoder.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)
    assert torch.equal(x, before)


def test_any_image_size():
    assert TinyResNet(4)(torch.randn(2, 3, 17, 23)).shape == (2, 16)
