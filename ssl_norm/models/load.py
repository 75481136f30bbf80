"""Encoder weights from any checkpoint, whatever its nesting and the prefix of its keys."""

import pickle
import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.checkpoint_prefixes import Candidate, Weights, candidates, names_target
from ssl_norm.norms.batch.batch_norm_checkpoints import not_in_batch_norm, spread_over_domains


@dataclass(frozen=True)
class LoadReport:
    """Names of an encoder's weights and statistics, by what a file has of them.

    Step counters of batch norms do not count.

    Attributes:
        kept: names that a checkpoint of batch norms lacks of the encoder's norms, such as the
            calibration weights of rbn; they keep their values and do not count.
    """

    source: str  # their place in the file, such as `learner: encoder.*`
    matched: tuple[str, ...]  # tensors that were loaded
    missing: tuple[str, ...]  # names that the file does not have
    unexpected: tuple[str, ...]  # names in that place that the encoder does not have
    shape_mismatch: tuple[str, ...]  # names whose shape differs; they keep their values
    kept: tuple[str, ...] = ()
    nesting: str = ""  # the part of `source` that leads to their dict, such as `learner: `
    prefix: str = ""  # of their names there, such as `encoder.`

    @property
    def match(self) -> float:
        """Share of the encoder's tensors that were loaded, in [0, 1]."""
        return len(self.matched) / self._wanted if self._wanted else 0.0

    @property
    def _wanted(self) -> int:
        return len(self.matched) + len(self.missing) + len(self.shape_mismatch)

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} of {self._wanted} tensors match ({self.source})"]
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
    encoder: nn.Module,
    path: str | Path,
    *,
    min_match: float = 0.9,
    of_target: bool = False,
    contents: Mapping[str, Any] | None = None,
) -> LoadReport:
    """Load an encoder's weights from a checkpoint, and return a report.

    Takes runs of this package, plain state dicts, state dicts nested in other dicts (`state_dict`,
    `model`, `teacher`, ...), keys with any prefix (`module.encoder_q.`, `backbone.`, ...) and
    numbered children (`backbone.0.`, lightly). The place that matches most tensors is taken; ties
    go to the shortest.

    Args:
        encoder: its matching tensors are overwritten, unless an error is raised.
        path: a file of torch.save, or a `.safetensors` file.
        min_match: smallest share of the encoder's tensors that must match, in [0, 1].
        of_target: consider only names of a target network (`target`, `momentum`, `teacher`,
            `encoder_k`, ...).
        contents: of the file, if it was read before.

    Raises:
        UserError: the file is missing or not readable, or too few tensors match.
    """
    wanted = {
        name: value
        for name, value in encoder.state_dict().items()
        if value.is_floating_point()  # not batch norms' step counters
    }
    found = [
        candidate
        for candidate in candidates(contents or read_checkpoint(path), wanted)
        if not of_target or names_target(candidate.nesting + candidate.prefix)
    ]
    if not found:
        if of_target:
            raise UserError(
                f"{path} holds no target network of {type(encoder).__name__}: no name says target, "
                "momentum, teacher, ema or key; take the online network"
            )
        raise UserError(f"{path} holds no weights of {type(encoder).__name__}: no name matches")
    compared = [(_compare(wanted, candidate), candidate) for candidate in found]
    report, best = max(compared, key=lambda pair: (len(pair[0].matched), -len(pair[0].source)))
    if report.match < min_match:
        raise UserError(
            f"{path} does not fit {type(encoder).__name__}: {report}; "
            f"at least {min_match:.0%} must match"
        )
    matching = {name: best.weights[best.prefix + name] for name in report.matched}
    encoder.load_state_dict(matching, strict=False)
    return report


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Return the contents of a checkpoint file on the CPU, without running any code in it.

    Raises:
        UserError: there is no such file, or it holds more than tensors, numbers and text.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # scripts of DINO and timm save their arguments
        with torch.serialization.safe_globals([Namespace]):
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except KeyError as error:  # torch's error for a text file
        raise UserError(
            f"{path} is not a readable checkpoint: no file of torch.save or safetensors"
        ) from error
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        holds = f"holds {foreign[1]}" if foreign else "is no checkpoint of tensors alone"
        raise UserError(
            f"{path} {holds}, and nothing but tensors, numbers and text is read for safety; "
            "save its state_dict with torch.save"
        ) from error
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not a readable checkpoint: {reason}") from error
    if not isinstance(contents, Mapping):
        raise UserError(f"{path} holds a {type(contents).__name__}, not a state_dict")
    return contents


def _compare(wanted: Weights, candidate: Candidate) -> LoadReport:
    prefix = candidate.prefix
    weights = candidate.weights.items()
    found = {k.removeprefix(prefix): v for k, v in weights if k.startswith(prefix)}
    shared = [name for name in wanted if name in found]
    same_shape = {name for name in shared if found[name].shape == wanted[name].shape}
    same_shape.update(spread_over_domains(wanted, found))
    kept = not_in_batch_norm(wanted, found)
    return LoadReport(
        source=str(candidate),
        matched=tuple(name for name in shared if name in same_shape),
        missing=tuple(name for name in wanted if name not in found and name not in kept),
        unexpected=tuple(n for n, v in found.items() if n not in wanted and v.is_floating_point()),
        shape_mismatch=tuple(name for name in shared if name not in same_shape),
        kept=tuple(name for name in wanted if name in kept),
        nesting=candidate.nesting,
        prefix=prefix,
    )
