import torch
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.views import denormalise, normalise_, unit_pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_unit_pixels_for_both_memory_formats():
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    for layout in (torch.contiguous_format, torch.channels_last):
        pixels = unit_pixels(images.contiguous(memory_format=layout))
        assert pixels.is_contiguous()
        torch.testing.assert_close(pixels, images.double().div(255).float())


def test_equals_torchvision_and_back():
    images = torch.rand(2, 3, 5, 7)
    found = normalise_(images.clone(), MEAN, STD)
    torch.testing.assert_close(found, F.normalize(images, list(MEAN), list(STD)))
    torch.testing.assert_close(denormalise(found, MEAN, STD), images)
