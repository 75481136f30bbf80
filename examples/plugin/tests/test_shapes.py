import torch

from ssl_norm_example.shapes import load_shapes


def test_shapes_are_brighter_than_their_ground():
    splits = load_shapes(images=64, seed=1)
    assert (len(splits.train), len(splits.test)) == (48, 16)
    assert (splits.train.images[:, 8, 8] >= 120).all()
    assert (splits.train.images[:, 0, 0] == 40).all()


def test_a_seed_is_the_same_images():
    first, again, other = (load_shapes(images=16, seed=seed).train.images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
