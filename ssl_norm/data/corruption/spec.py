"""A corruption of images, named by the user; needs no torch until it is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from ssl_norm.data.corruption.registry import CORRUPTIONS, CorruptionEntry
from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.names import unknown_name

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["CLEAN", "CORRUPTIONS", "Corruption", "parse_corruption"]

CLEAN = "clean"  # the name of no corruption
_SEVERITIES = Interval(1, 5, "[]", whole=True)


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity; `str` of it is `name:severity`.

    Attributes:
        name: one of `CORRUPTIONS`.
        severity: 1 to 5; what each means stands in `CORRUPTIONS`.

    Raises:
        UserError: there is no such corruption or severity.
    """

    name: str
    severity: int = 5

    def __post_init__(self) -> None:
        if str(self.name) not in CORRUPTIONS:
            raise UserError(unknown_name("corruption", self.name, (CLEAN, *CORRUPTIONS)))
        if self.severity not in _SEVERITIES:
            raise UserError(f"corruption {self}: its severity must be {_SEVERITIES}")

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}"

    @property
    def entry(self) -> CorruptionEntry:
        """What the registry says of it."""
        return CORRUPTIONS[self.name]

    def __call__(self, images: "Tensor", generator: "Generator") -> "Tensor":
        """Return corrupted images.

        Args:
            images: (N, 3, H, W) uint8 on any device; not altered.
            generator: on the CPU, so that a seed means the same noise on every device.

        Returns:
            (N, 3, H, W) uint8 on the same device.
        """
        module, _, function = self.entry.target.partition(":")
        corrupt = getattr(import_module(module), function)
        strength = self.entry.strengths[self.severity - 1]
        return cast("Tensor", corrupt(images, strength, generator))


def parse_corruption(spec: Any) -> Corruption | None:
    """Return the corruption that a setting names; None for `clean`.

    Args:
        spec: `clean`, a name (severity 5), `name:severity`, a mapping of `name` and `severity`, or
            a corruption.

    Raises:
        UserError: the setting is none of these, or names an unknown corruption or severity.

    Example:
        >>> str(parse_corruption("contrast"))
        'contrast:5'
        >>> parse_corruption({"name": "jpeg", "severity": 2})
        Corruption(name='jpeg', severity=2)
    """
    if isinstance(spec, Corruption):
        return spec
    if isinstance(spec, Mapping):
        return _from_options(spec)
    if not isinstance(spec, str):
        raise UserError(
            f"corruption {spec!r}: expected a name, as contrast or contrast:3, "
            "or a mapping of name and severity"
        )
    name, colon, severity = spec.partition(":")
    options: dict[str, Any] = {"name": name}
    if colon:
        options["severity"] = int(severity) if severity.isdecimal() else severity
    return _from_options(options)


def _from_options(options: Mapping[Any, Any]) -> Corruption | None:
    for key in options:
        if key not in ("name", "severity"):
            raise UserError(unknown_name("option of a corruption", key, ("name", "severity")))
    if "name" not in options:
        raise UserError(f"a corruption needs a name, one of {', '.join(CORRUPTIONS)}")
    if options["name"] == CLEAN:
        if "severity" in options:
            raise UserError(f"corruption {CLEAN} takes no severity")
        return None
    return Corruption(**options)
