import pytest
import torch

from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.errors import UserError
from ssl_norm.evaluate.classifier.inputs import corrupting, even_size

CONTRAST = Corruption("contrast", 5)


def test_corrupting_takes_chunks_in_order():
    seen = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).view(4, 3, 2, 2) * 5
    views = corrupting(lambda images, generator: (images,), [None, CONTRAST])
    (found,) = views(seen, torch.Generator().manual_seed(0))
    assert torch.equal(found[:2], seen[:2])
    assert torch.equal(found[2:], CONTRAST(seen[2:], torch.Generator()))


def test_corrupting_refuses_a_batch_without_equal_chunks():
    views = corrupting(lambda images, generator: (images,), [None, CONTRAST, None])
    for images in (2, 4):
        with pytest.raises(UserError, match=f"a batch of {images} images is not 3 equal chunks"):
            views(torch.zeros(images, 3, 2, 2, dtype=torch.uint8), torch.Generator())


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ((10_000, 256, 50_000), 250),
        ((100, 256, 50_000), 100),
        ((10_000, 256, 40), 40),
        ((1000, 256, 1000, 2), 250),
        ((10, 256, 1000, 3), 9),
        ((10, 10, 10, 20), 20),
    ],
)
def test_even_size(arguments, size):
    assert even_size(*arguments) == size
