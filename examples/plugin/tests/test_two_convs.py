import torch

from ssl_norm.models.encoders import build_encoder


def test_features_of_both_stems():
    for small_images, sizes in ((True, (32, 16)), (False, (16, 8))):
        encoder = build_encoder("two_convs", small_images=small_images, image_size=32)
        found = []
        for layer in (encoder.conv1, encoder.conv2):
            layer.register_forward_hook(lambda m, x, y, found=found: found.append(y.shape[-1]))
        assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, encoder.num_features)
        assert tuple(found) == sizes
