"""What a random view is, and the checks of its values; needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ssl_norm.errors import UserError

PROBABILITIES = ("flip", "jitter", "grey", "blur", "solarize")
STRENGTHS = {
    "brightness": float("inf"),
    "contrast": float("inf"),
    "saturation": float("inf"),
    "hue": 0.5,
}
RANGES = {"crop_area": 1.0, "crop_ratio": float("inf"), "blur_sigma": float("inf")}


@dataclass(frozen=True)
class ViewParameters:
    """One random view; as it stands, it is the whole image, only resized.

    Attributes:
        crop_area: range of the crop's share of the image's area, in (0, 1].
        crop_ratio: range of the crop's width over its height.
        flip: probability of a horizontal flip.
        jitter: probability that brightness, contrast, saturation and hue change, in random order.
        brightness: factors are drawn from [max(0, 1 - brightness), 1 + brightness].
        contrast: as brightness.
        saturation: as brightness.
        hue: shifts are drawn from [-hue, hue], in turns of the colour circle; at most 0.5.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur.
        blur_sigma: range of its standard deviation in pixels of the view.
        solarize: probability that pixels at or above the threshold are inverted.
        solarize_threshold: in [0, 1].
        extra: kornia operations that follow, each a name or a mapping of `name` and options.

    Raises:
        UserError: a value is out of its range.
    """

    crop_area: Sequence[float] = (1.0, 1.0)
    crop_ratio: Sequence[float] = (1.0, 1.0)
    flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    blur_sigma: Sequence[float] = (0.1, 2.0)
    solarize: float = 0.0
    solarize_threshold: float = 0.5
    extra: Sequence[Any] = ()

    def __post_init__(self) -> None:
        check_view(self)


def check_view(view: Any, key: str = "view") -> None:
    """Raise UserError, naming `key.field`, where a value of a view is out of its range.

    Args:
        view: anything with the attributes of :class:`ViewParameters`.
        key: where the view stands, for example `augment.view1`.

    Example:
        >>> check_view(ViewParameters(flip=0.5), "augment.view1")
    """
    for name in (*PROBABILITIES, "solarize_threshold"):
        check_number(f"{key}.{name}", getattr(view, name), 1.0)
    for name, highest in STRENGTHS.items():
        check_number(f"{key}.{name}", getattr(view, name), highest)
    for name, highest in RANGES.items():
        check_range(f"{key}.{name}", getattr(view, name), highest)
    for index, entry in enumerate(view.extra):
        operation_name(entry, f"{key}.extra[{index}]")


def check_normalisation(mean: Sequence[float], std: Sequence[float], key: str = "augment") -> None:
    """Raise UserError unless mean and std are three numbers each, in [0, 1] and above 0."""
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != 3:
            raise UserError(f"{key}.{name}: three values expected (R, G, B), got {list(values)}")
        for value in values:
            check_number(f"{key}.{name}", value, 1.0)
    if not all(value > 0 for value in std):
        raise UserError(f"{key}.std: values above 0 expected, got {list(std)}")


def check_number(key: str, value: Any, highest: float) -> None:
    """Raise UserError unless the value is a number in [0, highest]."""
    if not isinstance(value, Real) or not 0 <= value <= highest:  # type: ignore[operator]
        expected = "a number of at least 0" if highest == float("inf") else f"[0, {highest:g}]"
        raise UserError(f"{key}: {expected} expected, got {value!r}")


def check_range(key: str, bounds: Sequence[float], highest: float) -> None:
    """Raise UserError unless the bounds are two numbers with 0 < low <= high <= highest."""
    limit = "" if highest == float("inf") else f" <= {highest:g}"
    message = f"{key}: [low, high] with 0 < low <= high{limit} expected, got {bounds}"
    if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
        raise UserError(message)
    if not all(isinstance(bound, Real) for bound in bounds):
        raise UserError(message)
    if not 0 < bounds[0] <= bounds[1] <= highest:
        raise UserError(message)


def operation_name(entry: Any, key: str) -> str:
    """Return the kornia class that an entry of `extra` names."""
    name = (
        entry if isinstance(entry, str) else dict(entry).get("name") if is_mapping(entry) else None
    )
    if not isinstance(name, str):
        raise UserError(
            f"{key}: a kornia operation expected, such as "
            f"{{name: RandomRotation, degrees: 10}}, got {entry!r}"
        )
    return name


def is_mapping(entry: Any) -> bool:
    """Whether an entry has names and values; OmegaConf's mappings count."""
    return hasattr(entry, "keys") and hasattr(entry, "__getitem__")
