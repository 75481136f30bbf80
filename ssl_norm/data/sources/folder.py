"""A folder of image files."""

from dataclasses import replace
from typing import Annotated, Literal

from annotated_types import Interval

from ssl_norm.data.cache.reader import FolderReader, printable
from ssl_norm.data.dataset import Splits
from ssl_norm.data.sources.encoded_images import decoded_splits, require_two
from ssl_norm.data.sources.folder_labels import read_layout
from ssl_norm.data.sources.image_files import existing_folder, find_images


def load_folder(
    *,
    root: str | None = None,
    image_size: Annotated[int, Interval(ge=8, le=8192)] = 96,
    cache_size: Annotated[int, Interval(ge=8, le=8192)] | None = None,
    cache_dir: str | None = None,
    on_corrupt: Literal["stop", "skip"] = "stop",
    workers: Annotated[int, Interval(ge=0, le=1024)] = 2,
    test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
    seed: int = 0,
    progress: bool = False,
) -> Splits:
    """Return the images of a folder, decoded once into a memory-mapped cache.

    See `read_layout` for the meaning of sub-folders, `decode` for the pixels of an image,
    `cached_pixels` for the life of a cache and `decoded_splits` for the splits.

    Args:
        root: the folder.
        image_size: side of the views in pixels; the images may be larger.
        cache_size: side of the decoded images in pixels; None: `image_size` up to 64, else 8/7 of
            it.
        cache_dir: folder of the decoded images; None: `~/.cache/ssl_norm`.
        on_corrupt: whether to stop at a file that does not decode, or to skip it.
        workers: processes that decode; 0: this one.
        test_fraction: share held out for evaluation where the folder has labels but no test part.
        seed: of the test part.
        progress: whether to show bars and messages on stderr.

    Raises:
        UserError: there are fewer than two images, or as the functions above.
    """
    folder = existing_folder(root)
    listing = find_images(folder)
    require_two(len(listing.paths), f"in {printable(folder)}", listing.ignored)
    layout = read_layout(listing.paths)
    if listing.ignored:
        note = f"ignored {listing.ignored:,} hidden entries and files that are no images"
        layout = replace(layout, notes=(note, *layout.notes))
    return decoded_splits(
        FolderReader(str(folder)),
        layout,
        image_size=image_size,
        cache_size=cache_size,
        cache_dir=cache_dir,
        on_corrupt=on_corrupt,
        workers=workers,
        test_fraction=test_fraction,
        seed=seed,
        progress=progress,
    )
