"""Any two-dimensional kornia augmentation by name."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.parameters import operation_name
from ssl_norm.data.augment.transform import Drawn, Share
from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name

NOT_PER_IMAGE = ("forward_input_shape", "order")


class KorniaStage:
    """Stage of a kornia augmentation, with its parameters drawn from our generator.

    Parameters are drawn for the global batch and shared out, as everywhere. What an operation draws
    while it is applied follows the generator, too, but not the number of ranks.

    Args:
        entry: a name, or a mapping of `name` and options.
        size: side of the view in pixels, which the operation must keep.
        key: where the entry stands, for messages.

    Raises:
        UserError: kornia has no such operation or option, or the operation cannot be applied to a
            view.
    """

    def __init__(self, entry: str | Mapping[str, Any], size: int, key: str = "extra") -> None:
        self.size = size
        self.name = operation_name(entry, key)
        options = {} if isinstance(entry, str) else {k: v for k, v in entry.items() if k != "name"}
        self.operation = build_operation(self.name, options, key)
        self._try_out(key)

    def draw(self, share: Share, generator: Generator) -> Drawn:
        """Return kornia's own parameters, left on the CPU, and a seed for what it draws later."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        shape = torch.Size((share.total, 3, self.size, self.size))
        with seeded(seed, torch.device("cpu")):
            parameters = self.operation.forward_parameters(shape)
        local = {
            key: value[share.rows]
            if key not in NOT_PER_IMAGE and len(value) == share.total
            else value
            for key, value in parameters.items()
        }
        images = len(range(share.total)[share.rows])
        local["forward_input_shape"] = torch.tensor((images, *shape[1:]))
        return {"parameters": local, "seed": seed + share.rows.start}

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Return the changed images."""
        with seeded(drawn["seed"], images.device):
            changed: Tensor = self.operation(images, params=drawn["parameters"])
        return changed

    def _try_out(self, key: str) -> None:
        """Meet on two black images what would otherwise end a run at its first step."""
        share = Share(2, slice(0, 2), self.size, self.size)
        images = torch.zeros(2, 3, self.size, self.size)
        try:
            result = self.apply(images, self.draw(share, Generator()))
        except Exception as error:
            raise UserError(f"{key}: {self.name} fails: {first_line(error)}") from error
        if not isinstance(result, Tensor) or result.shape != images.shape:
            raise UserError(f"{key}: {self.name} changes the size of a view; use one that keeps it")


def build_operation(name: str, options: Mapping[str, Any], key: str) -> Any:
    """Return kornia's augmentation of a name, every image with its own parameters."""
    known = known_operations()
    if name not in known:
        raise UserError(f"{key}: {unknown_name('kornia operation', name, known)}")
    accepted = [
        option for option in inspect.signature(known[name]).parameters if option != "same_on_batch"
    ]
    for option in options:
        if option not in accepted:
            raise UserError(f"{key}: {unknown_name(f'option of {name}', option, accepted)}")
    try:
        return known[name](**options, same_on_batch=False)
    except Exception as error:
        raise UserError(f"{key}: {name} with {dict(options)}: {first_line(error)}") from error


def known_operations() -> dict[str, type]:
    """Return kornia's random augmentations of two-dimensional images by name."""
    from kornia import augmentation  # a second of import, for those who ask for it

    base = augmentation.AugmentationBase2D
    return {
        name: value
        for name, value in vars(augmentation).items()
        if isinstance(value, type)
        and issubclass(value, base)
        and "same_on_batch" in inspect.signature(value).parameters
        and not name.endswith("Base2D")
    }


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators of the CPU and the device, for a while."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]
