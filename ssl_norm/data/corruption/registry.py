"""Corruptions of images by name; needs no torch."""

from ssl_norm.registry import Registry

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
)
