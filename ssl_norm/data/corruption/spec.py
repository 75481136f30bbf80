"""Corruptions by name and severity; only a call needs torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.registry import Registry, is_reference

if TYPE_CHECKING:
    from torch import Generator, Tensor

# A corruption is a function of images, strength and generator with the attribute `strengths`; see
# `ssl_norm.data.corruption.functions`.
CORRUPTIONS = Registry(
    "corruption",
    {
        "contrast": "ssl_norm.data.corruption.functions:contrast",
        "gaussian_noise": "ssl_norm.data.corruption.functions:gaussian_noise",
        "gaussian_blur": "ssl_norm.data.corruption.functions:gaussian_blur",
        "jpeg": "ssl_norm.data.corruption.functions:jpeg",
    },
    expects="a function decorated by ssl_norm.data.corruption.functions.strengths(...)",
    arguments=3,
    attributes={"strengths": "builtins:tuple"},
)
CLEAN = "clean"  # name for no corruption
SEVERITIES = range(1, 6)


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity; its text is `name:severity`.

    Raises:
        UserError: the name or the severity is unknown.
    """

    name: str  # one of `CORRUPTIONS`, or `module:function`
    severity: int = SEVERITIES[-1]  # 1 to 5, an index into the strengths of the corruption

    def __post_init__(self) -> None:
        if str(self.name) not in CORRUPTIONS and not is_reference(self.name):
            raise UserError(unknown_name("corruption", self.name, (CLEAN, *CORRUPTIONS)))
        if type(self.severity) is not int or self.severity not in SEVERITIES:
            raise UserError(f"corruption {self}: its severity must be an integer in [1, 5]")

    def __str__(self) -> str:
        return f"{self.name}:{self.severity}"

    def __call__(self, images: "Tensor", generator: "Generator") -> "Tensor":
        """Return corrupted copies of images, (N, 3, H, W) uint8 on any device.

        The generator is on the CPU, so that a seed gives the same noise on every device.

        Raises:
            UserError: a function given as `module:function` is missing or has no strengths.
        """
        try:
            corrupt: Callable[..., Any] = CORRUPTIONS.load(self.name)
        except ValueError as error:
            raise UserError(str(error)) from error
        strengths: tuple[float, ...] = getattr(corrupt, "strengths", ())
        if len(strengths) != len(SEVERITIES):
            raise UserError(
                f"corruption '{self.name}' has {len(strengths)} strengths; decorate it by "
                "ssl_norm.data.corruption.functions.strengths with one for each severity, 1 to 5"
            )
        corrupted: Tensor = CORRUPTIONS.call(
            self.name, images, strengths[self.severity - 1], generator
        )
        found = getattr(corrupted, "shape", None), getattr(corrupted, "dtype", None)
        if found != (images.shape, images.dtype):
            raise UserError(
                f"corruption '{self.name}' returned {_described(corrupted)}; "
                f"{_described(images)} expected, as it got"
            )
        return corrupted


def _described(images: Any) -> str:
    shape = getattr(images, "shape", None)
    return type(images).__name__ if shape is None else f"{tuple(shape)} of {images.dtype}"


def parse_corruption(spec: Any) -> Corruption | None:
    """Return the corruption of a setting; None for `clean`.

    A setting is `clean`, a name (severity 5), `name:severity`, a mapping of `name` and `severity`,
    or a corruption; anything else is a UserError.

    Example:
        >>> str(parse_corruption("contrast"))
        'contrast:5'
        >>> parse_corruption({"name": "jpeg", "severity": 2})
        Corruption(name='jpeg', severity=2)
    """
    if isinstance(spec, Corruption):
        return spec
    options = spec
    if isinstance(spec, str):
        name, colon, severity = spec.rpartition(":")
        if not colon or (is_reference(spec) and name not in (CLEAN, *CORRUPTIONS)):
            options = {"name": spec}
        else:
            number = int(severity) if severity.isdecimal() else severity
            options = {"name": name, "severity": number}
    if not isinstance(options, Mapping):
        raise UserError(
            f"corruption {spec!r}: expected a name, as contrast or contrast:3, "
            "or a mapping of name and severity"
        )
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
