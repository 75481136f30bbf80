"""Loading of encoder weights from checkpoints with any nesting and any prefix of keys."""

import codecs
import pickle
import re
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_norm.errors import UserError
from ssl_norm.files import check_archive
from ssl_norm.models.checkpoint_prefixes import (
    ONLINE_WORDS,
    Candidate,
    Weights,
    candidates,
    names_any,
    names_target,
)
from ssl_norm.models.encoders import first_convolution
from ssl_norm.norms.batch.batch_norm_checkpoints import not_in_batch_norm, spread_over_domains
from ssl_norm.norms.swap.find import is_norm
from ssl_norm.text import first_line

NUMBER = re.compile(r"\d+$")
POSITIONS = ("pos_embed", "pos_embedding", "position_embeddings", "relative_position_bias_table")
MOST_TOKENS = 8  # most class tokens and registers before the positions
NetworkRole = Literal["online", "target"]
# Types that are read because they run no code: arguments of DINO and timm, paths of Lightning,
# numbers and arrays of numpy.
SAFE: Sequence[Any] = (
    Namespace,
    defaultdict,
    *((PurePath, f"{home}.{kind}Path") for home in ("pathlib", "pathlib._local")
      for kind in ("Posix", "Windows")),
    codecs.encode,
    np.ndarray,
    np.dtype,
    *(kind for kind in vars(np.dtypes).values() if isinstance(kind, type)),
    *((make.__reduce__()[0], f"numpy.{core}.multiarray.{name}") for core in ("core", "_core")
      for make, name in ((np.float64(), "scalar"), (np.empty(0), "_reconstruct"))),
)  # fmt: skip


@dataclass(frozen=True)
class LoadReport:
    """Match of an encoder's weights and statistics with those in a file.

    Step counters of batch norms are ignored.
    """

    source: str  # place of the weights in the file, such as `learner: encoder.*`
    network: NetworkRole  # network that was read; `online` also if its name tells no role
    matched: tuple[str, ...]  # tensors that were loaded, including converted ones
    converted: tuple[str, ...] = ()  # a text on each tensor whose shape was changed
    missing: tuple[str, ...] = ()  # tensors that the file lacks
    shape_mismatch: tuple[str, ...] = ()  # tensors whose shape or kind of number differs
    surplus: tuple[str, ...] = ()  # tensors in the file of parts that the encoder lacks
    unused: tuple[str, ...] = ()  # tensors of heads in the file
    kept: tuple[str, ...] = ()  # tensors of norms that the file lacks, which keep their values
    prefix: str = ""  # prefix of the names in the file, such as `encoder.`
    # all weights at that place of the file, and those that were loaded
    weights: Weights = field(default_factory=dict, repr=False, compare=False)
    values: Weights = field(default_factory=dict, repr=False, compare=False)

    @property
    def fits(self) -> bool:
        """Return whether the file has every tensor of the encoder, and none of further parts."""
        return bool(self.matched) and not (self.missing or self.shape_mismatch or self.surplus)

    def __str__(self) -> str:
        wanted = len(self.matched) + len(self.missing) + len(self.shape_mismatch)
        parts = [f"{len(self.matched)} of {wanted} tensors match ({self.source})"]
        for label, names in (
            ("missing", self.missing),
            ("of other shape", self.shape_mismatch),
            ("that the encoder lacks", self.surplus),
            ("converted", self.converted),
            ("not used", self.unused),
            ("kept, because the file has other norms", self.kept),
        ):
            if names:
                more = ", ..." if len(names) > 3 else ""
                parts.append(f"{len(names)} {label}: {', '.join(names[:3])}{more}")
        return "; ".join(parts)


def load_encoder_weights(
    encoder: nn.Module,
    path: str | Path,
    *,
    network: NetworkRole = "online",
    other_norms: Literal["refuse", "drop", "reset"] = "refuse",
    contents: Mapping[str, Any] | None = None,
) -> LoadReport:
    """Load all of an encoder's weights from a checkpoint, and return a report.

    The weights may be those of runs of this package, plain state dicts, or state dicts nested in
    other dicts (`state_dict`, `model`, `teacher`, ...). Their keys may have any prefix
    (`module.encoder_q.`, `backbone.`, ...), names of wrappers (`_orig_mod`) and numbered children
    (`backbone.0.`, lightly). The place in the file that matches most tensors is used. Every tensor
    is loaded or converted (:func:`converted`); none keeps its initial value.

    Args:
        encoder: its tensors are overwritten, unless an error is raised.
        path: a file of torch.save, or a `.safetensors` file.
        network: `target`: weights whose name suggests a target (`momentum`, `teacher`, `encoder_k`,
            ...); `online`: other weights, or the only network.
        other_norms: whether the encoder's norms may differ from those of the file. With `drop`,
            tensors of norms that the encoder lacks are ignored, and parameters that batch norm
            lacks keep their values. With `reset`, norms that the file lacks keep their initial
            values.
        contents: contents of the file, if it was read before.

    Raises:
        UserError: the file is missing or not readable, a tensor does not fit, or two places fit
            equally well and differ.
    """
    wanted = {
        name: value
        for name, value in encoder.state_dict().items()
        if value.is_floating_point()  # not batch norms' step counters
    }
    contents = contents or read_checkpoint(path)
    kind = type(encoder).__name__
    _check_stem(encoder, contents, path)
    layers = [n for n, each in encoder.named_children() if not isinstance(each, nn.Identity)]
    found = list(candidates(contents, wanted, layers))
    if not found:
        raise UserError(f"{path} has no weights of {kind}: no name matches")
    reports = [_compare(encoder, wanted, place, other_norms) for place in found]
    report = _choose(reports, network, f"{path}: {kind}")
    if not report.fits:
        raise UserError(
            f"{path} does not fit {kind}: {report}; all must match: set the encoder of the file "
            "(encoder.name, encoder.small_images, norm.encoder), or use an undamaged file"
        )
    encoder.load_state_dict(report.values, strict=False)
    return report


def _check_stem(encoder: nn.Module, contents: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a file of an encoder with another stem, because the weights may nevertheless fit."""
    record = contents.get("encoder_record")
    theirs = record.get("small_images") if isinstance(record, Mapping) else None
    ours = getattr(encoder, "small_images", None)
    if None not in (ours, theirs) and ours != theirs:
        stems = ("the architecture's own", "3x3 of stride 1 (encoder.small_images=true)")
        raise UserError(
            f"{path}: the stem of its encoder is {stems[bool(theirs)]}, of this one "
            f"{stems[bool(ours)]}; set encoder.small_images={str(theirs).lower()}"
        )


def _choose(found: Sequence[LoadReport], network: NetworkRole, subject: str) -> LoadReport:
    """Return the report that matches most tensors; of equal ones, that of the shortest place."""
    roles = {
        role: [each for each in found if each.network == role] for role in ("online", "target")
    }
    if not roles["target"] and network == "target":
        raise UserError(
            f"{subject}: the file has no target network (no name contains target, momentum, "
            "teacher, ema or key); use the online network"
        )
    most = {
        role: max((len(each.matched) for each in places), default=0)
        for role, places in roles.items()
    }
    # A few names outside the only network may match by accident.
    role = "target" if network == "online" and 2 * most["online"] < most["target"] else network
    best = [each for each in roles[role] if len(each.matched) == most[role]]
    named = [each for each in best if names_any(each.source, ONLINE_WORDS)]
    first, *others = sorted(named or best, key=lambda each: len(each.source))
    for other in others:
        if any(not torch.equal(other.values[name], first.values[name]) for name in first.values):
            raise UserError(
                f"{subject} fits {first.source} and {other.source} equally well, and they "
                "differ; write the right one to a file by torch.save"
            )
    return first


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Return the contents of a checkpoint file on the CPU, without running any code in it.

    Raises:
        UserError: there is no such file, it is damaged, or it contains other objects than tensors,
            arrays, numbers and text.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint file {path}")
    try:
        check_archive(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(list(SAFE)):
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except (UserError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        holds = f"contains {foreign[1]}" if foreign else "is no checkpoint of tensors"
        raise UserError(
            f"{path} {holds}; for safety, only tensors, numbers and text are read; save its "
            "state_dict with torch.save"
        ) from error
    except Exception as error:  # a damaged file may raise any type
        raise UserError(
            f"{path} is not a readable checkpoint of torch.save or safetensors "
            f"({first_line(error)}); it may be incomplete: copy it again"
        ) from error
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} contains a {type(contents).__name__}, not a state_dict")
    return contents


def _compare(
    encoder: nn.Module, wanted: Weights, candidate: Candidate, other_norms: str
) -> LoadReport:
    """Return the report on a candidate."""
    given, norms_differ = candidate.inside, other_norms != "refuse"
    spread = spread_over_domains(wanted, given)
    kept = not_in_batch_norm(wanted, given) if norms_differ else set()
    values, sentences, missing, mismatch = dict[str, Tensor](), [], [], []
    for name, target in wanted.items():
        value = given.get(name)
        if value is None:
            if other_norms == "reset" and _in_norm(encoder, name):
                kept.add(name)
            elif name not in kept:
                missing.append(name)
        elif not value.is_floating_point():  # quantized, or integers of another format
            mismatch.append(name)
        elif value.shape == target.shape or name in spread:
            values[name] = value
        elif found := converted(name, value, target, encoder):
            values[name] = found[0]
            sentences.append(found[1])
        else:
            mismatch.append(name)
    others = [name for name, v in given.items() if name not in wanted and v.is_floating_point()]
    inside = [name for name in others if _belongs_inside(encoder, name)]
    surplus = [n for n in inside if not (norms_differ and _in_norm(encoder, n))]
    return LoadReport(
        source=str(candidate),
        network="target" if names_target(candidate.nesting + candidate.prefix) else "online",
        matched=tuple(values),
        converted=tuple(sentences),
        missing=tuple(missing),
        shape_mismatch=tuple(mismatch),
        surplus=tuple(surplus),
        unused=tuple(name for name in others if name not in surplus),
        kept=tuple(name for name in wanted if name in kept),
        prefix=candidate.prefix,
        weights=candidate.weights,
        values=values,
    )


def converted(
    name: str, value: Tensor, wanted: Tensor, encoder: nn.Module
) -> tuple[Tensor, str] | None:
    """Convert a tensor of a file to the shape in the encoder; return it and a text, or None.

    Position embeddings on a square grid are resized by bicubic interpolation, without those of
    class tokens and registers. Weights of a first convolution for grey images are divided among
    three colours, so that it computes their mean.
    """
    if name.rpartition(".")[2] in POSITIONS:
        return _resized(name, value, wanted)
    is_first = name == f"{first_convolution(encoder)[0]}.weight"
    grey = (wanted.shape[0], 1, *wanted.shape[2:])
    if is_first and wanted.shape[1] == 3 and value.shape == grey:
        return value.expand(wanted.shape) / 3, f"{name} from grey to the mean of three colours"
    return None


def _resized(name: str, value: Tensor, wanted: Tensor) -> tuple[Tensor, str] | None:
    """Resize positions (1, N, C) or (N, C) to another grid; None if a grid is not a square."""
    if value.ndim != wanted.ndim or not 2 <= value.ndim <= 3:
        return None
    if (value.shape[:-2], value.shape[-1]) != (wanted.shape[:-2], wanted.shape[-1]):
        return None
    counts = value.shape[-2], wanted.shape[-2]
    grids = {
        tokens: [isqrt(count - tokens) for count in counts]
        for tokens in range(min(MOST_TOKENS, *counts))
        if all(isqrt(count - tokens) ** 2 == count - tokens for count in counts)
    }
    if len(grids) != 1:
        return None
    ((tokens, (side, new_side)),) = grids.items()
    rows = value.reshape(-1, value.shape[-1]).float()
    grid = rows[tokens:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (new_side, new_side), mode="bicubic", antialias=True)
    resized = grid[0].flatten(1).T
    sentence = f"{name} from {side}x{side} to {new_side}x{new_side} positions"
    return torch.cat([rows[:tokens], resized]).view(wanted.shape), sentence


def _in_norm(encoder: nn.Module, name: str) -> bool:
    """Return whether a tensor belongs to a norm, or to the identity in place of a norm."""
    try:
        module = encoder.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return False
    return is_norm(module) or isinstance(module, nn.Identity)


def _belongs_inside(encoder: nn.Module, name: str) -> bool:
    """Return whether a tensor that the encoder lacks is one of a part, such as a further block.

    Other tensors belong to heads: a removed classifier, or modules next to the encoder.
    """
    *path, leaf = name.split(".")
    module = encoder
    for depth, part in enumerate(path):
        if isinstance(module, nn.Identity) or not module.state_dict():
            return False
        child = module._modules.get(part)
        if child is None:
            siblings = {NUMBER.sub("#", each) for each in module._modules if NUMBER.search(each)}
            return depth > 0 or NUMBER.sub("#", part) in siblings | {"norm", "bn", "ln"}
        module = child
    if path:
        return not isinstance(module, nn.Identity) and leaf not in module._buffers
    return bool(re.search(r"(?<!mask_)token|pos_", leaf))
