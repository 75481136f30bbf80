"""Encoder weights from any checkpoint, however it is nested and whatever its keys begin with."""

import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.errors import UserError
from ssl_norm.norms.batch_norm_checkpoints import not_in_batch_norm, spread_over_domains

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class LoadReport:
    """What became of an encoder's tensors (weights and statistics; step counters are not counted).

    Attributes:
        source: where in the file they were found, for example `learner: encoder.*`.
        matched: names of the tensors that were loaded.
        missing: names that the file does not have.
        unexpected: names beside them that the encoder does not have.
        shape_mismatch: names whose shape differs; they keep their values.
        kept: names of what a batch norm's checkpoint does not have of the encoder's norms, such as
            the calibration weights of rbn; they keep their values and do not count.
    """

    source: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape_mismatch: tuple[str, ...]
    kept: tuple[str, ...] = ()

    @property
    def match(self) -> float:
        """Share of the encoder's tensors that were loaded, in [0, 1]."""
        wanted = len(self.matched) + len(self.missing) + len(self.shape_mismatch)
        return len(self.matched) / wanted if wanted else 0.0

    def __str__(self) -> str:
        wanted = len(self.matched) + len(self.missing) + len(self.shape_mismatch)
        parts = [f"{len(self.matched)} of {wanted} tensors match ({self.source})"]
        for label, names in (
            ("missing", self.missing),
            ("of other shape", self.shape_mismatch),
            ("not used", self.unexpected),
            ("kept, as a batch norm has none", self.kept),
        ):
            if names:
                more = ", ..." if len(names) > 3 else ""
                parts.append(f"{len(names)} {label}: {', '.join(names[:3])}{more}")
        return "; ".join(parts)


def load_encoder_weights(
    encoder: nn.Module, path: str | Path, *, min_match: float = 0.9
) -> LoadReport:
    """Load what a checkpoint holds of an encoder, and return what matched.

    Takes runs of this package, plain state dicts, state dicts nested in other dicts (`state_dict`,
    `model`, `teacher`, ...) and keys with any prefix (`module.encoder_q.`, `backbone.`, ...): of
    all nestings and prefixes the one that matches most tensors is taken, of equals the shortest.
    Files are read without running code that they may contain.

    Args:
        encoder: its matching tensors are overwritten, unless an error is raised.
        path: a file of torch.save, or a `.safetensors` file.
        min_match: smallest share of the encoder's tensors that must match, in [0, 1].

    Raises:
        UserError: the file is not there or not readable, or too few tensors match.
    """
    wanted = {
        name: value
        for name, value in encoder.state_dict().items()
        if value.is_floating_point()  # not batch norms' step counters
    }
    candidates = [
        (nesting, prefix, weights)
        for nesting, weights in _state_dicts(read_checkpoint(path))
        for prefix in _prefixes(weights, wanted)
    ]
    reports = [_compare(wanted, *candidate) for candidate in candidates]
    if not reports:
        raise UserError(f"{path} holds no weights of {type(encoder).__name__}: no name matches")
    best = max(
        range(len(reports)), key=lambda i: (len(reports[i].matched), -len(reports[i].source))
    )
    report, (_, prefix, weights) = reports[best], candidates[best]
    if report.match < min_match:
        raise UserError(
            f"{path} does not fit {type(encoder).__name__}: {report}; "
            f"at least {min_match:.0%} must match"
        )
    encoder.load_state_dict({name: weights[prefix + name] for name in report.matched}, strict=False)
    return report


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Return the contents of a checkpoint file on the CPU, without running any code in it.

    Raises:
        UserError: there is no such file, or it holds something else than tensors, numbers and text.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is no checkpoint of tensors, numbers and text alone, and nothing else is read "
            "for safety; save its state_dict with torch.save"
        ) from error
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} holds a {type(contents).__name__}, not a state_dict")
    return contents


def _state_dicts(contents: Mapping[str, Any], nesting: str = "") -> Iterator[tuple[str, Weights]]:
    """Yield every dict that holds tensors, with the path of keys that leads to it."""
    tensors = {key: value for key, value in contents.items() if isinstance(value, Tensor)}
    if tensors:
        yield nesting, tensors
    for key, value in contents.items():
        if isinstance(value, Mapping):
            yield from _state_dicts(value, f"{nesting}{key}: ")


def _prefixes(weights: Weights, wanted: Weights) -> list[str]:
    """Return what stands before the encoder's names in the names of `weights`."""
    counts: Counter[str] = Counter()
    for key in weights:
        parts = str(key).split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                counts[".".join(parts[:cut]) + "." * (cut > 0)] += 1
    return list(counts)


def _compare(wanted: Weights, nesting: str, prefix: str, weights: Weights) -> LoadReport:
    found = {
        str(key).removeprefix(prefix): value
        for key, value in weights.items()
        if str(key).startswith(prefix)
    }
    shared = [name for name in wanted if name in found]
    same_shape = {name for name in shared if found[name].shape == wanted[name].shape}
    same_shape.update(spread_over_domains(wanted, found))
    kept = not_in_batch_norm(wanted, found)
    return LoadReport(
        source=f"{nesting}{prefix}*",
        matched=tuple(name for name in shared if name in same_shape),
        missing=tuple(name for name in wanted if name not in found and name not in kept),
        unexpected=tuple(
            name for name in found if name not in wanted and found[name].is_floating_point()
        ),
        shape_mismatch=tuple(name for name in shared if name not in same_shape),
        kept=tuple(name for name in wanted if name in kept),
    )
