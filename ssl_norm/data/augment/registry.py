"""Augmentation steps by name, for `augment.<view>.extra`; needs no torch."""

from ssl_norm.registry import Registry

# A step is a class of keyword-only options that follows the protocol
# `ssl_norm.data.augment.transform.Transform`. kornia's operations need no entry.
AUGMENTATIONS = Registry(
    "augmentation",
    {
        "gaussian_blur": "ssl_norm.data.augment.blur:GaussianBlur",
        "solarize": "ssl_norm.data.augment.solarize:Solarize",
    },
)
