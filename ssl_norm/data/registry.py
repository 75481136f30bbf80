"""The names of all sources of images; needs no torch, so that errors answer at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name


@dataclass(frozen=True)
class DataEntry:
    """One source of images: the function that loads it and the settings that function takes.

    Attributes:
        target: `module:function`; called with keyword arguments only, returns `Splits`.
        options: names of its arguments, out of those of `ssl_norm.data.load.load_splits`.
        image_size: side in pixels of a view where the user does not say.
    """

    target: str
    options: tuple[str, ...]
    image_size: int


DATA: Mapping[str, DataEntry] = MappingProxyType(
    {
        "digits": DataEntry(
            "ssl_norm.data.sources.digits:load_digits_splits",
            ("image_size", "test_fraction", "seed"),
            16,
        ),
        "cifar10": DataEntry(
            "ssl_norm.data.sources.cifar10:load_cifar10", ("root", "download"), 32
        ),
        "stl10": DataEntry("ssl_norm.data.sources.stl10:load_stl10", ("root", "download"), 96),
        "folder": DataEntry(
            "ssl_norm.data.sources.folder:load_folder",
            (
                "root",
                "image_size",
                "cache_size",
                "cache_dir",
                "on_corrupt",
                "workers",
                "test_fraction",
                "seed",
                "progress",
            ),
            96,
        ),
    }
)


def data_entry(name: str) -> DataEntry:
    """Return the source called `name`.

    Raises:
        UserError: there is none; the message lists all and names the nearest.
    """
    if name not in DATA:
        raise UserError(unknown_name("data", name, DATA))
    return DATA[name]
