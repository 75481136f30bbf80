"""Further operations of a view by name: ours, kornia's or those of another package."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.parameters import AUGMENTATIONS, check_kornia_options, operation_name
from ssl_norm.data.augment.transform import Params, Share, Transform
from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.registry import is_reference
from ssl_norm.signature import check_options
from ssl_norm.text import first_line

NOT_PER_IMAGE = ("forward_input_shape", "order")


def extra_transform(entry: str | Mapping[str, Any], size: int, key: str = "extra") -> Transform:
    """Return the transform that an entry of `augment.<view>.extra` names.

    The entry is a name of `AUGMENTATIONS`, `module:class` or a two-dimensional kornia augmentation,
    or a mapping of `name` and options; it must keep the side of a view, `size` pixels.

    Raises:
        UserError: there is no such operation or option, or the operation fails on a view.
    """
    try:
        name = operation_name(entry)
        options = {} if isinstance(entry, str) else {k: v for k, v in entry.items() if k != "name"}
        if name in AUGMENTATIONS or is_reference(name):
            checked = check_options(AUGMENTATIONS.load(name), options, name)
            transform: Transform = AUGMENTATIONS.call(name, **checked)
        else:
            transform = KorniaTransform(_kornia_operation(name, options), size)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {first_line(error)}") from error
    images = torch.zeros(2, 3, size, size)
    try:  # a failure should show before the first step
        params = transform.draw(Share(2, slice(0, 2), size, size), Generator())
        result = transform.apply(images.clone(), params)
    except Exception as error:
        raise UserError(f"{key}: {name} fails: {first_line(error)}") from error
    if not isinstance(result, Tensor) or result.shape != images.shape:
        raise UserError(f"{key}: {name} changes the size of a view; use one that keeps it")
    return transform


class KorniaTransform:
    """Transform by a kornia augmentation, with parameters drawn from our generator.

    Parameters are drawn for the global batch; each rank takes its share. Numbers that an operation
    draws while it is applied are seeded as well, but depend on the number of ranks.
    """

    def __init__(self, operation: Any, size: int) -> None:
        self.operation, self.size = operation, size

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return kornia's own parameters on the CPU, and a seed for its later draws."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        shape = torch.Size((share.total, 3, self.size, self.size))
        with _seeded(seed, torch.device("cpu")):
            parameters = self.operation.forward_parameters(shape)
        for key, value in parameters.items():
            if key not in NOT_PER_IMAGE and len(value) == share.total:
                parameters[key] = value[share.rows]
        images = len(range(share.total)[share.rows])
        parameters["forward_input_shape"] = torch.tensor((images, *shape[1:]))
        return {"parameters": parameters, "seed": seed + share.rows.start}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the changed images."""
        with _seeded(params["seed"], images.device):
            changed: Tensor = self.operation(images, params=params["parameters"])
        return changed


def _kornia_operation(name: str, options: Mapping[str, Any]) -> Any:
    from kornia import augmentation  # takes a second to import

    known = {
        key: value
        for key, value in vars(augmentation).items()
        if isinstance(value, type)
        and issubclass(value, augmentation.AugmentationBase2D)
        and "same_on_batch" in inspect.signature(value).parameters
        and not key.endswith("Base2D")
    }
    if name not in known:
        raise ValueError(unknown_name("augmentation", name, (*AUGMENTATIONS, *known)))
    check_kornia_options(name, options, inspect.signature(known[name]).parameters)
    try:
        return known[name](**options, same_on_batch=False)
    except Exception as error:
        raise ValueError(f"{name} with {dict(options)}: {first_line(error)}") from error


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators of the CPU and the device inside the block."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield
