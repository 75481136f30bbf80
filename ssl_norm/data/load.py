"""The one way to images: a source by name."""

import dataclasses
from importlib import import_module
from typing import cast

from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.registry import data_entry
from ssl_norm.data.settings import check_settings
from ssl_norm.data.sources.split import random_subset
from ssl_norm.distributed import local_rank_zero_first
from ssl_norm.errors import UserError


def load_splits(
    name: str,
    *,
    root: str | None = None,
    download: bool = True,
    image_size: int = 32,
    cache_size: int | None = None,
    cache_dir: str | None = None,
    on_corrupt: str = "stop",
    workers: int = 2,
    test_fraction: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Splits:
    """Return the images of a source; each source takes from the arguments what concerns it.

    Under several ranks this is a collective call: the first rank of each machine downloads and
    decodes, the others wait and use its files.

    Args:
        name: one of `ssl_norm.data.registry.DATA`.
        root: folder that holds the files.
        download: whether missing files may be fetched.
        image_size: side in pixels of the views that training draws; the images themselves may be
            larger.
        cache_size: side in pixels of the images of `folder`; None: `image_size` up to 64, else 8/7
            of it.
        cache_dir: where `folder` keeps decoded images; None: `~/.cache/ssl_norm`.
        on_corrupt: `stop` or `skip`: what to do with a file that does not decode.
        workers: processes that decode; 0: this one.
        test_fraction: share held out for evaluation where the source has labels but no test part,
            in (0, 1).
        limit: pretrain on a seeded subset of so many images; None: on all.
        seed: of the test part and of the subset.
        progress: whether to show bars and messages on stderr.

    Raises:
        UserError: an argument is out of its range, or the images cannot be had.
    """
    settings = {
        "root": root,
        "download": download,
        "image_size": image_size,
        "cache_size": cache_size,
        "cache_dir": cache_dir,
        "on_corrupt": on_corrupt,
        "workers": workers,
        "test_fraction": test_fraction,
        "seed": seed,
        "progress": progress,
    }
    entry = data_entry(name)
    check_settings(settings | {"limit": limit})
    module, _, function = entry.target.partition(":")
    source = getattr(import_module(module), function)
    options = {key: settings[key] for key in entry.options}
    splits = cast(Splits, local_rank_zero_first(lambda: source(**options)))
    if limit is None:
        return splits
    return dataclasses.replace(splits, pretrain=_limited(splits.pretrain, limit, seed))


def _limited(images: ImageSet, limit: int, seed: int) -> ImageSet:
    if limit > len(images):
        raise UserError(
            f"data.limit={limit}: expected 2 to {len(images):,}, the number of pretraining images"
        )
    return images.subset(random_subset(len(images), limit, seed))
