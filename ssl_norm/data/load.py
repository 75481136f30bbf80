"""Images of a source by name."""

import dataclasses
import os
from typing import Any

import torch
from pydantic import ValidationError

from ssl_norm.data.dataset import Splits
from ssl_norm.data.registry import DATA, find_source
from ssl_norm.data.subsets import random_subset
from ssl_norm.distributed import local_rank_zero_first
from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import line_of
from ssl_norm.signature import declared_options, options_model, options_of
from ssl_norm.text import unique


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
    decodes; the other ranks wait and use its files.

    Args:
        name: one of `DATA`, or `module:function`.
        seed: seed of the test part and of the subset.
        progress: whether to show bars and messages on stderr.
        limit: size of a seeded subset for pretraining; None: all images.
        **settings: keyword-only parameters of the source; None: the default. Settings of other
            sources are ignored.

    Raises:
        UserError: the source is unknown, a setting is out of range, or images cannot be loaded.
        TypeError: no source has such a setting.
    """
    source = find_source(name)
    options, model = options_of(source), options_model(source)
    known = known_settings(name)
    for key in settings:
        if key not in known:
            raise TypeError(unknown_name(f"setting of data '{name}'", key, known))
    taken = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value
        for key, value in {**settings, "seed": seed, "progress": progress}.items()
        if key in options and value is not None
    }
    try:
        model.model_validate(taken)
    except ValidationError as error:
        raise UserError(line_of(error, model, "data.")) from error
    splits = _checked(name, local_rank_zero_first(lambda: DATA.call(name, **taken)))
    if limit is None:
        return splits
    count = len(splits.pretrain)
    if not 2 <= limit <= count:
        raise UserError(
            f"data.limit={limit}: expected 2 to {count:,}, the number of pretraining images"
        )
    chosen = splits.pretrain.subset(random_subset(count, limit, seed))
    return dataclasses.replace(splits, pretrain=chosen)


def _checked(name: str, splits: Any) -> Splits:
    """Return the images of a source if they have the type and shape of images."""
    if not isinstance(splits, Splits):
        found = type(splits).__name__
        raise UserError(f"data '{name}' returned {found}; expected ssl_norm.data.Splits")
    for images in (splits.pretrain, splits.train, splits.test):
        pixels = None if images is None else images.pixels
        if pixels is not None and (
            pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3
        ):
            raise UserError(
                f"data '{name}' returned pixels {tuple(pixels.shape)} of {pixels.dtype}; "
                "expected (N, H, W, 3) of torch.uint8"
            )
    return splits


def known_settings(name: str) -> list[str]:
    """Return the settings of a source and of all registered ones."""
    registered = (key for source in DATA for key in declared_options(DATA, source))
    return unique([*options_of(find_source(name)), *registered])
