import numpy as np
import pytest
import torch

from ssl_norm.data.batches.image_batches import Batches
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError

CPU = torch.device("cpu")
PIXELS = torch.arange(23, dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 4, 3).contiguous()


def values(batches: Batches, start: int = 0, stop: int = 7) -> list[list[int]]:
    """Return which images make up each batch."""
    return [batch[:, 0, 0, 0].tolist() for batch in batches.iterate(start, stop)]


def make(images: ImageSet | None = None, **options) -> Batches:
    settings = {"batch_size": 6, "seed": 1, "device": CPU, **options}
    return Batches(images or ImageSet(PIXELS), **settings)


def test_each_epoch_is_a_permutation_of_its_seed_without_the_rest():
    torch.manual_seed(0)
    batches, drawn = make(), values(make(), 0, 6)
    assert batches.steps_per_epoch == 3
    for epoch in (drawn[:3], drawn[3:]):
        assert len({image for batch in epoch for image in batch}) == 18
    assert drawn[:3] != drawn[3:]
    torch.manual_seed(1)
    assert values(make(), 0, 6) == drawn
    assert values(make(seed=2), 0, 6) != drawn


def test_any_step_can_be_the_first_and_iterations_are_independent():
    batches = make(ImageSet(PIXELS, mapped=True), resident=False)
    whole = values(batches)
    for start in range(8):
        next(batches.iterate(2, 7))
        assert values(batches, start) == whole[start:]


def test_all_places_of_pixels_give_the_same_batches(tmp_path):
    np.save(tmp_path / "pixels.npy", PIXELS.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "pixels.npy", mmap_mode="c"))
    rows = torch.arange(22, -1, -1)
    expected = values(make(ImageSet(PIXELS[rows])))
    for pixels, is_mapped in ((PIXELS, False), (mapped, True)):
        images = ImageSet(pixels, rows=rows, mapped=is_mapped)
        for resident in (True, False, "auto"):
            for workers in (0, 1, 3):
                batches = make(images, resident=resident, workers=workers)
                assert values(batches) == expected
                batch = next(batches.iterate(0, 1))
                assert batch.is_contiguous(memory_format=torch.channels_last)
                assert torch.equal(batch.permute(0, 2, 3, 1), PIXELS[batch[:, 0, 0, 0].long()])
                assert batches.is_resident == (not is_mapped or resident is not False)


def test_ranks_share_what_one_process_sees():
    parts = [values(make(rank=rank, world_size=3)) for rank in range(3)]
    joined = [[image for part in batch for image in part] for batch in zip(*parts, strict=True)]
    assert joined == values(make())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: expected 1 to 23, the number"),
        ({"batch_size": 24}, "batch_size=24: expected 1 to 23, the number"),
        ({"world_size": 4}, "batch_size=6 cannot be shared equally by 4 processes"),
    ],
)
def test_a_batch_must_fit_the_set_and_divide_by_the_ranks(options, message):
    with pytest.raises(UserError, match=message):
        make(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", ["auto", True, False])
def test_a_gpu_gets_the_same_batches(resident):
    batches = make(ImageSet(PIXELS, mapped=True), device=torch.device("cuda"), resident=resident)
    batch = next(batches.iterate(0, 1))
    assert batch.is_cuda
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batches.is_resident == (resident is not False)
    assert values(batches) == values(make())
