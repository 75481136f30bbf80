"""Parameters of a random view; needs no torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

from annotated_types import Interval
from pydantic import AfterValidator, ValidationInfo

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.options import Settings, check_object, option
from ssl_norm.registry import Registry, is_reference
from ssl_norm.signature import argument_names, imported_names
from ssl_norm.text import as_typed

Probability = Annotated[float, Interval(ge=0, le=1)]
Ratio = Annotated[float, Interval(ge=0.01, le=100)]  # outside, crops are thinner than a pixel
Sigma = Annotated[float, Interval(ge=1e-3, le=1e6)]  # below, squared distances overflow
Scale = Annotated[float, Interval(gt=0, le=1)]


# Steps of `augment.<view>.extra`: classes with keyword-only options and the methods of
# `ssl_norm.data.augment.transform.Transform`. kornia's operations need no entry.
AUGMENTATIONS = Registry(
    "augmentation",
    {
        "gaussian_blur": "ssl_norm.data.augment.filters:GaussianBlur",
        "solarize": "ssl_norm.data.augment.filters:Solarize",
    },
    expects="a class with the methods of ssl_norm.data.augment.transform.Transform",
    only_classes=True,
    methods={"draw": ("share", "generator"), "apply": ("images", "params")},
)


def _check_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"[low, high] with low <= high expected, got {as_typed(bounds)}")
    return bounds


def operation_name(entry: Any) -> str:
    """Return the name in an entry of `extra`, which is text or a mapping with options."""
    name = entry.get("name") if isinstance(entry, Mapping) else entry
    if not isinstance(name, str):
        raise ValueError(
            "a kornia operation expected, such as {name: RandomRotation, degrees: 10}, "
            f"got {as_typed(entry)}"
        )
    return name


def _check_operation(entry: Any, info: ValidationInfo) -> Any:
    name = operation_name(entry)
    if name in AUGMENTATIONS or is_reference(name):
        check_object(AUGMENTATIONS, name, info)
    elif (names := imported_names("kornia.augmentation")) and name not in names:
        raise ValueError(unknown_name("augmentation", name, (*AUGMENTATIONS, *names)))
    elif isinstance(entry, Mapping) and (known := argument_names(f"kornia.augmentation:{name}")):
        check_kornia_options(name, entry, known)
    return entry


def check_kornia_options(name: str, entry: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ValueError if an entry of `extra` has an option that its kornia operation lacks."""
    accepted = sorted({*known} - {"same_on_batch"})
    if wrong := [option for option in entry if option not in ("name", *accepted)]:
        raise ValueError(unknown_name(f"option of {name}", wrong[0], accepted))


Area = Annotated[tuple[Scale, Scale], AfterValidator(_check_order)]
Ratios = Annotated[tuple[Ratio, Ratio], AfterValidator(_check_order)]
Sigmas = Annotated[tuple[Sigma, Sigma], AfterValidator(_check_order)]
Operation = Annotated[Any, AfterValidator(_check_operation)]


class ViewParameters(Settings):
    """One random view; probabilities in [0, 1], strengths as in torchvision's ColorJitter."""

    crop_area: Area = option(
        (0.08, 1.0), "smallest and largest share of the image's area in a crop"
    )
    crop_ratio: Ratios = option((0.75, 4 / 3), "smallest and largest width / height of a crop")
    flip: Probability = option(0.5, "probability of a horizontal flip")
    jitter: Probability = option(0.8, "probability of the four colour changes below")
    brightness: float = option(0.4, "largest relative change", only_with="jitter", ge=0, le=100)
    contrast: float = option(0.4, "largest relative change", only_with="jitter", ge=0, le=100)
    saturation: float = option(0.2, "largest relative change", only_with="jitter", ge=0, le=100)
    hue: float = option(
        0.1, "largest shift; 0.5 is half the colour circle", only_with="jitter", ge=0, le=0.5
    )
    grey: Probability = option(0.2, "probability of grey")
    blur: Probability = option(0.5, "probability of a Gaussian blur")
    blur_sigma: Sigmas = option(
        (0.1, 2.0), "smallest and largest standard deviation", unit="pixels", only_with="blur"
    )
    solarize: Probability = option(0.0, "probability that bright pixels are inverted")
    solarize_threshold: Probability = option(
        0.5, "brightness from which pixels are inverted", only_with="solarize"
    )
    extra: list[Operation] = option(
        list, "more operations, of kornia or by name, e.g. [{name: RandomRotation, degrees: 10}]"
    )

    @classmethod
    def plain(cls, **changes: Any) -> Self:
        """Return the view that only resizes the whole image, except for the given changes.

        Example:
            >>> ViewParameters.plain(flip=0.5).crop_area
            (1.0, 1.0)
        """
        whole = {"crop_area": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
        nothing = dict.fromkeys(("flip", "jitter", "grey", "blur", "solarize"), 0.0)
        strengths = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
        return cls(**{**whole, **nothing, **strengths, **changes})


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise UserError unless mean and std are three numbers each, in [0, 1] and in (0, 1]."""
    for name, values, range_ in (("mean", mean, "[0, 1]"), ("std", std, "(0, 1]")):
        inside = [0 <= value <= 1 and (value > 0 or name == "mean") for value in values]
        if len(inside) != 3 or not all(inside):
            raise UserError(f"augment.{name}: three values in {range_} expected, got {[*values]}")
