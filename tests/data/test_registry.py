import inspect
import io
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_norm.data import DATA, ImageSet, Splits, load_splits
from ssl_norm.data.cache.reader import Stamp
from ssl_norm.data.registry import default_image_size, find_source
from ssl_norm.data.sources.folder import decoded_splits
from ssl_norm.data.sources.folder_labels import read_layout
from ssl_norm.errors import UserError
from ssl_norm.settings.sections import DataSettings
from ssl_norm.signature import declared_options, options_of
from tests.data.image_files_on_disk import noise


@pytest.mark.parametrize("name", DATA)
def test_sources_take_keywords_with_defaults_and_meanings(name):
    source = find_source(name)
    kinds = {parameter.kind for parameter in inspect.signature(source).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    for option in options_of(source).values():
        assert option.text
        assert option.default is not inspect.Parameter.empty
    assert default_image_size(name) >= 8


@pytest.mark.parametrize(
    "name", [name for name in DATA if "root" not in options_of(find_source(name))]
)
def test_sources_in_memory_have_splits_of_their_seed(name):
    splits, again = (load_splits(name, seed=0) for _ in range(2))
    size = default_image_size(name)
    for part in (splits.pretrain, splits.train, splits.test):
        assert part.image_shape == (size, size, 3)
        assert part.pixels.dtype == torch.uint8
        assert 0 <= part.labels.min() <= part.labels.max() < len(part.classes)
    assert torch.equal(splits.train.images, again.train.images)
    if "seed" in options_of(find_source(name)):
        other = load_splits(name, seed=1)
        assert not torch.equal(splits.train.images, other.train.images)


def test_defaults_agree_with_the_configuration():
    settings = DataSettings().model_dump()
    for name in DATA:
        for key, option in options_of(find_source(name)).items():
            if key in settings and key != "image_size":  # whose default each source has itself
                assert settings[key] == option.default


def test_options_of_a_name_that_its_module_imports_are_read_where_it_is_defined():
    found = declared_options(DATA, "ssl_norm.data:load_splits")
    assert found.keys() == options_of(load_splits).keys() == {"seed", "progress", "limit"}


def test_an_unknown_name_and_decoding_need_no_torch():
    code = (
        "import sys, ssl_norm.data.cache.cached_pixels, ssl_norm.data.augment.parameters\n"
        "ssl_norm.data.parse_corruption('contrast:3')\n"
        "try: ssl_norm.data.registry.find_source('foldr')\n"
        "except ValueError as error: print(error)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unknown data 'foldr'; known: ")
    assert done.stdout.endswith("did you mean 'folder'?\n")


def gradients(*, count: int = 6, image_size: int = 12) -> Splits:
    """Return images made in memory.

    Args:
        count: number of images.
        image_size: side in pixels.
    """
    ramp = torch.arange(count, dtype=torch.uint8)[:, None, None, None]
    return Splits(ImageSet(ramp.expand(-1, image_size, image_size, 3)))


def no_splits() -> list[int]:
    return []


def of_floats(*, image_size: int = 12) -> Splits:
    return Splits(ImageSet(torch.zeros(4, image_size, image_size, 3)))


def channels_first(*, image_size: int = 12) -> Splits:
    return Splits(ImageSet(torch.zeros(4, 3, image_size, image_size, dtype=torch.uint8)))


HERE = __name__


def test_a_function_of_any_module_is_a_source():
    name = f"{HERE}:gradients"
    assert default_image_size(name) == 12
    assert load_splits(name, root="not taken", cache_size=9).pretrain.image_shape == (12, 12, 3)
    assert len(load_splits(name, count=9, limit=4).pretrain) == 4
    with pytest.raises(UserError, match=r"has no default for image_size; set data\.image_size"):
        default_image_size(f"{HERE}:no_splits")
    for unknown in ("digitz", "no_such_package.module:f"):
        with pytest.raises(UserError, match=r"unknown data 'digitz'|there is no module"):
            default_image_size(unknown)


class MemoryReader:
    """Encoded images in memory."""

    name = "memory"

    def read(self, identifier: str) -> bytes:
        """Return a PNG file, or fail."""
        seed = int(identifier.rpartition("/")[2])
        if seed > 90:
            raise OSError("no such image")
        stream = io.BytesIO()
        Image.fromarray(noise(seed=seed)).save(stream, "PNG")
        return stream.getvalue()

    def stamp(self, identifier: str) -> Stamp:
        """Return a time that says nothing."""
        return Stamp((), time.time_ns())


def test_encoded_images_need_no_files(tmp_path):
    layout = read_layout([f"{label}/{seed}" for label in "ab" for seed in (1, 2, 3)] + ["b/91"])
    options = {"side": 8, "cache_dir": str(tmp_path), "workers": 0}
    splits = decoded_splits(MemoryReader(), layout, on_corrupt="skip", **options)
    assert splits.skipped == ("memory/b/91",)
    assert (len(splits.train), len(splits.test)) == (4, 2)
    images = {bytes(image.numpy()) for image in splits.train.images}
    assert images <= {np.ascontiguousarray(noise(seed=seed)).tobytes() for seed in (1, 2, 3)}
    with pytest.raises(UserError, match=r"memory/b/91 does not decode \(no such image\)"):
        decoded_splits(MemoryReader(), layout, **options)


def test_limit_concerns_pretraining_alone_and_is_seeded():
    splits, again, other = (load_splits("digits", limit=100, seed=seed) for seed in (0, 0, 1))
    assert len(splits.pretrain) == 100
    assert len(splits.train) == 4 * 1438
    assert torch.equal(splits.pretrain.rows, again.pretrain.rows)
    assert not torch.equal(splits.pretrain.rows, other.pretrain.rows)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("digits", {"limit": 5753}, "data.limit=5753: expected 2 to 5,752"),
        ("digits", {"test_fraction": 1.0}, r"data.test_fraction=1.0: a number in \(0, 1\)"),
        ("folder", {"root": ""}, "data=folder needs data.root="),
        ("folder", {"on_corrupt": "skp"}, "unknown data.on_corrupt 'skp'; .* did you mean 'skip'"),
        (f"{HERE}:gradients", {"cont": 9}, "data '.*' has no setting 'cont'.*mean 'count'"),
        (f"{HERE}:gradients", {"count": "many"}, r"data\.count=many: an integer expected"),
        (f"{HERE}:no_splits", {}, r"returned list; expected ssl_norm\.data\.Splits"),
        (f"{HERE}:of_floats", {}, r"returned pixels \(4, 12, 12, 3\) of torch.float32"),
        (f"{HERE}:channels_first", {}, r"returned pixels \(4, 3, 12, 12\) of"),
    ],
)
def test_what_does_not_fit_a_source_is_one_clear_line(source, options, message):
    with pytest.raises(TypeError if "cont" in options else UserError, match=message):
        load_splits(source, **options)
