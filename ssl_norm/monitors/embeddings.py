"""Embeddings of any training loop, as pairs of views of the same images."""

from collections.abc import Mapping
from itertools import combinations, product
from typing import Any, NamedTuple

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
_LAYOUTS = {2: "NC", 3: "NTC"}  # number of axes of embeddings without a given layout
_OUTPUT = "last_hidden_state"  # of transformers' models


class Views(NamedTuple):
    """Embeddings of one step; the first pair starts with the first view."""

    pairs: list[Pair]  # (online, target), each (N, C), row i of both from image i
    matched: bool  # whether a pair holds two views; else the positive cosine has no meaning
    tokens: Tensor | None  # (N, T, C) of the first view, if it consists of tokens


def views_of(
    embeddings: Any, target: Any = None, *, crops: int = 1, layout: str | None = None
) -> Views:
    """Return the pairs of views in the embeddings of one step.

    An embedding is a tensor (N, C), tokens (N, T, C), which are pooled by their mean, any other
    tensor with its `layout`, or an output with a `last_hidden_state`, as attribute or key.

    Args:
        embeddings: an embedding; a sequence of them, one for each view (crop) of the same images;
            or a sequence of pairs (online, target), where the target may be None.
        target: the views of the target network, in the same order, in either of the first two
            forms; None: the views of `embeddings` are compared with each other.
        crops: number of views in a tensor of the online network, with all rows of view 1 first. A
            tensor of the target holds as many as it has rows for: one of 2 N rows, two views.
        layout: a letter for each axis of a tensor, `N` for images and `C` for channels; all other
            axes are pooled, as in `NCL`, `NCHW`, `NHWC` or `LNC`. None: `NC` or `NTC`.

    Returns:
        With a target, these are all pairs of an online view and a different target view, as in
        DINO, or the one pair if each network has one view. Views of one image never count as
        negatives.

    Raises:
        ValueError: no embedding, an unknown form or layout, or views of different shapes.
    """
    if _is_pairs(embeddings):
        if target is not None:
            raise ValueError("pairs of (online, target) already hold targets: leave target out")
        flat = [_views(pair, layout, crops) for pair in embeddings]
        views = [view for pair in flat for view in pair]
        pairs = [(pair[0][0], pair[-1][0]) for pair in flat if pair]
        matched = all(len(pair) == 2 for pair in flat)
    else:
        views = _views(embeddings, layout, crops)
        targets = _views(target, layout, images=len(views[0][0]) if views else None)
        first, others = [view for view, _ in views], [view for view, _ in targets]
        both = list(product(enumerate(first), enumerate(others)))
        pairs = [(z, t) for (i, z), (j, t) in both if i != j or len(both) == 1]
        pairs = pairs or list(combinations(first, 2)) or [(view, view) for view in first]
        matched = len(first) > 1 or bool(others)
        views = [*views, *targets]
    if not pairs:
        raise ValueError("no embedding was given: expected (N, C), views of it, or pairs of views")
    if len({view.shape for view, _ in views}) > 1:
        shapes = ", ".join(str(tuple(view.shape)) for view, _ in views)
        raise ValueError(f"views of the same images must have the same shape, got {shapes}")
    return Views(pairs, matched, views[0][1])


def _is_pairs(given: Any) -> bool:
    parts = given if isinstance(given, list | tuple) else []
    nested = [part for part in parts if isinstance(part, list | tuple)]
    if nested and (len(nested) < len(parts) or any(len(pair) != 2 for pair in nested)):
        raise ValueError("pairs must be a sequence of (online, target): [(online, target)]")
    return bool(nested)


def _views(
    given: Any, layout: str | None, crops: int = 1, images: int | None = None
) -> list[tuple[Tensor, Tensor | None]]:
    """Return the views of one network, each as vectors and, if it has some, tokens.

    A tensor holds `crops` views, or views of `images` rows.
    """
    if given is None:
        return []
    if isinstance(given, list | tuple):
        return [view for part in given for view in _views(part, layout, crops, images)]
    tensor = given if isinstance(given, Tensor) else _tensor_of(given)
    axis = max((layout or "").find("N"), 0)
    if tensor.ndim <= axis:
        return [vectors(tensor, layout)]  # raises the error of such a tensor
    rows = tensor.shape[axis]
    if images is None and rows % crops:
        raise ValueError(f"crops={crops} does not divide {rows} rows")
    views = torch.split(tensor.detach(), max(images or rows // crops, 1), axis)
    return [vectors(view, layout) for view in views]


def _tensor_of(output: Any) -> Tensor:
    found = output.get(_OUTPUT) if isinstance(output, Mapping) else getattr(output, _OUTPUT, None)
    if not isinstance(found, Tensor):
        keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        raise ValueError(
            f"a {type(output).__name__}{keys} is not an embedding: pass a tensor or an output with "
            f"{_OUTPUT}"
        )
    return found


def vectors(embedding: Tensor, layout: str | None = None) -> tuple[Tensor, Tensor | None]:
    """Return an embedding as one vector for each image, (N, C), and as tokens (N, T, C) or None.

    The vectors are means over tokens. The layout is as for :func:`views_of`, with the same errors.
    """
    axes = _LAYOUTS.get(embedding.ndim) if layout is None else layout
    if axes is None:
        raise ValueError(
            f"an embedding of shape {tuple(embedding.shape)} needs layout=..., a letter for each "
            "axis with N for images and C for channels, as in NCHW"
        )
    if len(axes) != embedding.ndim or axes.count("N") != 1 or axes.count("C") != 1:
        raise ValueError(
            f"layout={axes} does not fit {tuple(embedding.shape)}: a letter for each axis "
            "expected, one of them N (images) and one C (channels)"
        )
    moved = embedding.movedim((axes.index("N"), axes.index("C")), (0, -1))
    return (moved, None) if moved.ndim == 2 else (pool(embedding, axes), moved.flatten(1, -2))


def pool(tensor: Tensor, layout: str) -> Tensor:
    """Return the means (N, C) of a tensor over all other axes, in float32 or wider."""
    others = tuple(axis for axis, letter in enumerate(layout) if letter not in "NC")
    wide = torch.promote_types(tensor.dtype, torch.float32)
    means = tensor.mean(others, dtype=wide)
    return means if layout.index("N") < layout.index("C") else means.T


def without_broken_rows(*embeddings: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return embeddings with rows of NaN or infinity replaced by others, and the share of these.

    A row that is broken in one embedding is replaced in all by the same finite row; finite rows are
    used about equally often. If no row is finite, nothing is replaced. The host does not wait for
    the device.
    """
    finite = torch.stack([(rows * 0).sum(1) for rows in embeddings]).eq(0).all(0)
    place = torch.arange(len(finite), device=finite.device)
    order = finite.to(torch.int8).argsort(descending=True, stable=True)
    chosen = place.where(finite, order[place % finite.sum().clamp(min=1)])
    share = 1 - finite.to(torch.float32).mean()
    return [rows.index_select(0, chosen) for rows in embeddings], share
