"""Corruptions of images by name; needs no torch."""

from ssl_norm.registry import Registry

# A corruption is a function of images, strength and generator with the attribute `strengths`; see
# `ssl_norm.data.corruption.functions`.
CORRUPTIONS = Registry(
    "corruption",
    {
        name: f"ssl_norm.data.corruption.functions:{name}"
        for name in ("contrast", "gaussian_noise", "gaussian_blur", "jpeg")
    },
)
