import pytest
import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.catalogue import ENCODERS, LIBRARIES
from ssl_norm.models.encoders import build_encoder
from ssl_norm.norms import replace_norms

# A family each: where the classifier sits and how the network begins differ.
FAMILIES = [
    ("tiny16", 64),
    ("resnet18", 512),
    ("resnet10t", 512),
    ("resnetblur18", 512),
    ("mobilenetv3_small_050", 1024),
    ("convnext_atto", 320),
    ("vit_tiny_patch16_224", 192),
    ("torchvision/resnet18", 512),
    ("torchvision/densenet121", 1024),
    ("torchvision/mobilenet_v3_small", 1024),
    ("torchvision/efficientnet_b0", 1280),
    ("torchvision/swin_t", 768),
    ("torchvision/squeezenet1_1", 512),
    ("vit_b_32", 768),
    ("googlenet", 1024),
]


@pytest.mark.parametrize(("name", "width"), FAMILIES)
def test_features_have_the_width_that_is_told(name, width):
    encoder = build_encoder(name, small_images=None, image_size=32)
    assert encoder.training
    features = encoder(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, width)
    assert encoder.num_features == width


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in LIBRARIES])
def test_own_encoders_train_at_two_sizes_with_another_norm(name):
    for image_size in (16, 32):
        torch.manual_seed(0)
        encoder = build_encoder(name, small_images=None, image_size=image_size)
        assert replace_norms(encoder, "gn").replaced
        features = encoder(torch.randn(4, 3, image_size, image_size))
        assert features.shape == (4, encoder.num_features)
        features.square().sum().backward()
        for parameter in encoder.parameters():
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", ["resnet18", "resnet10t", "resnetblur18", "torchvision/resnet18"])
def test_small_images_keep_their_resolution(name):
    encoder = build_encoder(name, small_images=True, image_size=32)
    sizes = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, x, y: sizes.append(y.shape[-1]))
    encoder.eval()(torch.zeros(1, 3, 32, 32))
    assert sizes[:4] == [32, 32, 32, 32]


def test_small_images_by_size_or_by_request():
    stride = lambda **options: build_encoder("resnet18", **options).conv1.stride  # noqa: E731
    assert stride(small_images=None, image_size=64) == (1, 1)
    assert stride(small_images=None, image_size=65) == (2, 2)
    assert stride(small_images=False, image_size=32) == (2, 2)
    assert stride(small_images=True, image_size=65) == (1, 1)


class Mean(nn.Module):
    """Mean colour, behind a strided convolution."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def small_mean(*, image_size, small_images):
    assert (image_size, small_images) == (16, None)
    return Mean(7)


def maps():
    return nn.Conv2d(3, 5, 3)


def nothing():
    return None


def needy(depth):
    return Mean(depth)


def test_a_module_or_function_of_any_package_is_an_encoder():
    encoder = build_encoder(f"{__name__}:Mean", small_images=None, image_size=16)
    assert (encoder.num_features, encoder.conv.stride) == (5, (2, 2))
    encoder = build_encoder(f"{__name__}:Mean", small_images=True, image_size=16)
    assert encoder.conv.stride == (1, 1)
    encoder = build_encoder(f"{__name__}:small_mean", small_images=None, image_size=16)
    assert encoder.num_features == 7


HERE = __name__


@pytest.mark.parametrize(
    ("name", "small_images", "image_size", "message"),
    [
        ("vit_tiny_patch16_224", True, 32, "'vit_tiny_patch16_224' does not begin with a strided"),
        ("vit_b_32", False, 30, "encoder 'vit_b_32' cannot be built for images of 30 px"),
        ("maxvit_t", False, 30, "encoder 'maxvit_t' cannot be built for images of 30 px"),
        ("levit_128s", None, 32, "=false keeps its own stem"),
        (
            f"{HERE}:maps",
            None,
            16,
            r"its output is torch.Size\(\[1, 5, 14, 14\]\), not features of",
        ),
        (f"{HERE}:nothing", None, 16, "is a NoneType; expected an nn.Module"),
        (f"{HERE}:needy", None, 16, "may have no other required parameters .*'depth'"),
        (f"{HERE}:Mea", None, 16, "unknown object 'Mea'.*did you mean 'Mean'"),
    ],
)
def test_an_encoder_that_cannot_be_built_is_one_clear_line(name, small_images, image_size, message):
    with pytest.raises(UserError, match=message):
        build_encoder(name, small_images=small_images, image_size=image_size)
