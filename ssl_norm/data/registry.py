"""Sources of images by name; needs no torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssl_norm.errors import UserError
from ssl_norm.registry import Registry
from ssl_norm.signature import declared_options, options_of

if TYPE_CHECKING:
    from ssl_norm.data.dataset import Splits

# A source is a function that returns `ssl_norm.data.dataset.Splits`. Its keyword-only parameters
# are settings under `data`; the default of `image_size` is the side of a view.
DATA = Registry(
    "source",
    {
        "digits": "ssl_norm.data.sources.digits:load_digits_splits",
        "cifar10": "ssl_norm.data.sources.torchvision_sets:load_cifar10",
        "stl10": "ssl_norm.data.sources.torchvision_sets:load_stl10",
        "folder": "ssl_norm.data.sources.folder:load_folder",
    },
    expects="a function of keyword-only parameters that returns ssl_norm.data.Splits",
    arguments=0,
)


def find_source(name: str) -> Callable[..., "Splits"]:
    """Return the source of a name or `module:function`; raise UserError if there is none."""
    try:
        DATA.check(name, "data")
        source: Callable[..., Splits] = DATA.load(name)
    except ValueError as error:
        raise UserError(str(error)) from error
    return source


def default_image_size(name: str) -> int:
    """Return the default side of a source's views in pixels; raise UserError if it has none."""
    options = declared_options(DATA, name) or options_of(find_source(name))
    option = options.get("image_size")
    if option is None or not isinstance(option.default, int):
        raise UserError(f"data '{name}' has no default for image_size; set data.image_size")
    return option.default
