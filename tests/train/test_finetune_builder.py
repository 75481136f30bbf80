"""Builders of a fine-tuning."""

import pytest
import torch

from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.train.finetune_builder import choose_images

# Each pixel is the number of its image, whose label is its last digit.
PIXELS = torch.arange(60, dtype=torch.uint8)[:, None, None, None].repeat(1, 2, 2, 3)
CLASSES = tuple("0123456789")


def numbers(images):
    return images.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("wanted", [{"labels_per_class": 2}, {"labels": 20}, {"labels": 0.4}])
def test_labels_are_those_of_the_chosen_images(wanted):
    with_labels = torch.arange(59, 9, -1)  # in another order than all images
    splits = Splits(
        pretrain=ImageSet(PIXELS),
        train=ImageSet(PIXELS, with_labels % 10, CLASSES, rows=with_labels),
        test=ImageSet(PIXELS[:10], torch.arange(10), CLASSES),
    )
    images = choose_images(FinetuneSettings(**wanted), splits)
    chosen, rest = numbers(images.labelled), numbers(images.unlabelled)
    assert images.labelled.labels.tolist() == [number % 10 for number in chosen]
    assert sorted(chosen + rest) == list(range(60))
    assert min(chosen) >= 10
    assert len(chosen) == 20
