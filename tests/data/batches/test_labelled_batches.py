import pytest
import torch

from ssl_norm.data.batches.labelled_batches import LabelledBatch, LabelledBatches
from ssl_norm.data.corruption.spec import Corruption
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError

CPU = torch.device("cpu")
PIXELS = torch.randint(
    0, 256, (30, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
PIXELS[:, 0, 0, 0] = torch.arange(30)  # tells the images apart
EVERYTHING = ImageSet(PIXELS, torch.arange(30) % 3, ("a", "b", "c"))
LABELLED, UNLABELLED = EVERYTHING.subset(range(9, -1, -1)), EVERYTHING.subset(range(10, 30))
NOISE, CONTRAST = Corruption("gaussian_noise"), Corruption("contrast")


def make(
    labelled: ImageSet = LABELLED, unlabelled: ImageSet | None = UNLABELLED, **options
) -> LabelledBatches:
    settings = {"batch_size": 12, "unlabelled_size": 6, "seed": 1, "device": CPU, **options}
    return LabelledBatches(labelled, unlabelled, **settings)


def collect(batches: LabelledBatches, start: int = 0, stop: int = 6) -> list[LabelledBatch]:
    return list(batches.iterate(start, stop))


def names(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def same(left: list[LabelledBatch], right: list[LabelledBatch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b)
        for first, second in zip(left, right, strict=True)
        for a, b in zip(first, second, strict=True)
    )


def test_images_come_with_their_labels_channels_last():
    for images, labels, unlabelled in collect(make()):
        assert images.shape == (12, 3, 8, 8)
        assert unlabelled.shape == (6, 3, 8, 8)
        assert set(names(images)) <= set(range(10))
        assert set(names(unlabelled)) <= set(range(10, 30))
        assert labels.equal(images[:, 0, 0, 0] % 3)
        for part in (images, unlabelled):
            assert part.dtype == torch.uint8
            assert part.is_contiguous(memory_format=torch.channels_last)
            assert part.permute(0, 2, 3, 1).equal(PIXELS[names(part)])


def test_unlabelled_images_come_in_separate_passes():
    batches, alone = (
        collect(make(), 0, 10),
        collect(make(unlabelled=None, unlabelled_size=0), 0, 10),
    )
    seen = [name for batch in batches for name in names(batch.unlabelled)]
    assert sorted(seen) == sorted(list(range(10, 30)) * 3)
    assert sorted(seen[:20]) == list(range(10, 30))
    for batch, other in zip(alone, batches, strict=True):
        assert batch.unlabelled is None
        assert same(
            [batch._replace(unlabelled=batch.labels)], [other._replace(unlabelled=other.labels)]
        )


OPTIONS = [
    {},
    {"chunk": 4, "classes_per_chunk": 2},
    {"chunk": 4, "shuffle": True},
    {"domains": (None, NOISE)},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_seed_alone_decides_and_any_step_can_be_the_first(options):
    torch.manual_seed(0)
    first = collect(make(**options))
    torch.manual_seed(1)
    for start in (0, 1, 4, 6):
        assert same(collect(make(**options), start), first[start:])
    assert not same(collect(make(**options, seed=2)), first)


def test_domains_are_equal_chunks_in_order():
    clean = collect(make())
    for batch, plain in zip(collect(make(domains=(CONTRAST, None, NOISE))), clean, strict=True):
        assert batch.labels.equal(plain.labels)
        for part, original in ((batch.images, plain.images), (batch.unlabelled, plain.unlabelled)):
            size = len(part) // 3
            contrast, untouched, noise = part.split(size)
            unused = torch.Generator()
            assert contrast.equal(CONTRAST(original[:size], unused))
            assert untouched.equal(original[size : 2 * size])
            changed = (noise.float() - original[2 * size :].float()).std()
            assert 15 < changed < 30  # 25.5 less what is clipped
            assert part.is_contiguous(memory_format=torch.channels_last)


def test_noise_is_new_in_every_step_and_the_source_stays_clean():
    before = PIXELS.clone()
    equal = ImageSet(PIXELS, torch.tensor([0, 1]), rows=torch.tensor([0, 0]))
    batches = make(equal, batch_size=2, domains=(NOISE,))
    first, second = (batch.images for batch in collect(batches, 0, 2))
    assert not first.equal(second)
    assert PIXELS.equal(before)


def test_chunks_that_do_not_fit_are_one_line():
    with pytest.raises(UserError, match=r"grouping\.classes=4: expected 1 to 3, the number"):
        make(chunk=4, classes_per_chunk=4)
    with pytest.raises(UserError, match=r"grouping\.chunk and domains exclude each other"):
        make(chunk=4, domains=(None,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", ["auto", False])
def test_a_gpu_gets_the_same_batches(resident):
    on_gpu = collect(make(device=torch.device("cuda"), domains=(None, NOISE), resident=resident))
    assert all(part.is_cuda for batch in on_gpu for part in batch)
    on_cpu = [LabelledBatch(*(part.cpu() for part in batch)) for batch in on_gpu]
    assert same(on_cpu, collect(make(domains=(None, NOISE))))


def test_chunks_have_one_class_each_and_shuffling_keeps_the_images():
    together, apart = (collect(make(chunk=4, shuffle=shuffle)) for shuffle in (False, True))
    for batch, other in zip(together, apart, strict=True):
        assert all(len(chunk.unique()) == 1 for chunk in batch.labels.split(4))
        assert sorted(names(batch.images)) == sorted(names(other.images))
        assert other.labels.equal(other.images[:, 0, 0, 0] % 3)
        assert batch.unlabelled.equal(other.unlabelled)
    assert any(len(chunk.unique()) > 1 for batch in apart for chunk in batch.labels.split(4))
