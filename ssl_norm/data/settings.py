"""What the settings of the data may be; needs no torch, so that errors answer at once."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ssl_norm.intervals import Interval
from ssl_norm.value_checks import check_name, check_number, check_path

NUMBERS: Mapping[str, Interval] = MappingProxyType(
    {
        "image_size": Interval(8, whole=True),
        "cache_size": Interval(8, whole=True),
        "workers": Interval(0, whole=True),
        "limit": Interval(2, whole=True),
        "test_fraction": Interval(0, 1, "()"),
    }
)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UserError, naming `data.<key>`, where a setting is out of its range.

    Args:
        settings: by name, any of the arguments of `ssl_norm.data.load.load_splits`; None is no
            value, other names are not looked at.
    """
    check_path("data.root", settings.get("root"), "folder")
    check_path("data.cache_dir", settings.get("cache_dir"), "folder")
    check_name("data.on_corrupt", settings.get("on_corrupt"), ("stop", "skip"))
    for name, interval in NUMBERS.items():
        check_number(f"data.{name}", settings.get(name), interval)
