"""Images of a source by name."""

import dataclasses
import os
from typing import Any

from pydantic import ValidationError

from ssl_norm.data.dataset import ImageSet, Splits
from ssl_norm.data.registry import DATA, find_source
from ssl_norm.data.subsets import random_subset
from ssl_norm.distributed import local_rank_zero_first
from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import line_of
from ssl_norm.signature import declared_options, options_model, options_of


def load_splits(
    name: str,
    *,
    seed: int = 0,
    progress: bool = False,
    limit: int | None = None,
    **settings: Any,
) -> Splits:
    """Return the images of a source.

    With several ranks this is a collective call: local rank zero of each machine downloads and
    decodes, and the others wait and use its files.

    Args:
        name: one of `DATA`, or `module:function`.
        seed: of the test part and of the subset.
        progress: whether to show bars and messages on stderr.
        limit: size of a seeded subset to pretrain on; None: all images.
        **settings: keyword-only parameters of the source; None leaves the default. Settings of
            other sources are ignored.

    Raises:
        UserError: no such source, a setting out of its range, or images that cannot be loaded.
        TypeError: no source takes such a setting.
    """
    source = find_source(name)
    options, known = options_of(source), known_settings(name)
    for key in settings:
        if key not in known:
            raise TypeError(unknown_name(f"setting of data '{name}'", key, known))
    given = {**settings, "seed": seed, "progress": progress}
    taken = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value
        for key, value in given.items()
        if key in options and value is not None
    }
    model = options_model(source)
    try:
        model.model_validate(taken)
    except ValidationError as error:
        raise UserError(line_of(error, model, "data.")) from error
    splits = local_rank_zero_first(lambda: source(**taken))
    if not isinstance(splits, Splits):
        found = type(splits).__name__
        raise UserError(f"data '{name}' returned {found}; expected ssl_norm.data.Splits")
    if limit is None:
        return splits
    return dataclasses.replace(splits, pretrain=_limited(splits.pretrain, limit, seed))


def known_settings(name: str) -> list[str]:
    """Return the settings of a source and of all registered ones."""
    registered = [key for source in DATA for key in declared_options(DATA, source)]
    return list(dict.fromkeys([*options_of(find_source(name)), *registered]))


def _limited(images: ImageSet, limit: int, seed: int) -> ImageSet:
    if not 2 <= limit <= len(images):
        raise UserError(
            f"data.limit={limit}: expected 2 to {len(images):,}, the number of pretraining images"
        )
    return images.subset(random_subset(len(images), limit, seed))
