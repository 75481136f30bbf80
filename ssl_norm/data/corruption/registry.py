"""The names of all corruptions of images; needs no torch, so that errors answer at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class CorruptionEntry:
    """One corruption: the function that does it and how strong it is at each severity.

    Attributes:
        target: `module:function`, called with images, strength and generator.
        strengths: at severities 1 to 5.
        meaning: of the strength.
    """

    target: str
    strengths: tuple[float, float, float, float, float]
    meaning: str


# The strengths that CIFAR-10-C was made with, for images of 32 pixels (Hendrycks & Dietterich,
# arXiv 1903.12261; github.com/hendrycks/robustness, ImageNet-C/create_c/make_cifar_c.py at
# ca360085d57889288c4143fddd8a707bbcae01bd). On larger images, blur and JPEG are weaker than there.
CORRUPTIONS: Mapping[str, CorruptionEntry] = MappingProxyType(
    {
        "contrast": CorruptionEntry(
            "ssl_norm.data.corruption.functions:contrast",
            (0.75, 0.5, 0.4, 0.3, 0.15),
            "factor of the distance from the channel's mean",
        ),
        "gaussian_noise": CorruptionEntry(
            "ssl_norm.data.corruption.functions:gaussian_noise",
            (0.04, 0.06, 0.08, 0.09, 0.10),
            "standard deviation, of values in [0, 1]",
        ),
        "gaussian_blur": CorruptionEntry(
            "ssl_norm.data.corruption.functions:gaussian_blur",
            (0.4, 0.6, 0.7, 0.8, 1.0),
            "standard deviation in pixels",
        ),
        "jpeg": CorruptionEntry(
            "ssl_norm.data.corruption.functions:jpeg", (80, 65, 58, 50, 40), "JPEG quality"
        ),
    }
)
