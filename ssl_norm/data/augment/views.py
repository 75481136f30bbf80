"""Random views of every image of a batch, one or several."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.normalise import unit_pixels
from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.transfer import to_device
from ssl_norm.data.augment.transform import Share
from ssl_norm.data.augment.view import View


class Views:
    """Makes views of a batch, on the batch's device, every image with its own parameters.

    All parameters are drawn on the CPU from the generator, for the images of all ranks: the same
    generator gives the same views on every device, and W ranks see what one process sees. A device
    gets them in one copy that it is not waited for.

    Args:
        parameters: of each view, by the name of its key under `augment`.
        image_size: side S of a view in pixels.
        mean: of each colour, in [0, 1], subtracted from all views.
        std: of each colour, above 0; all views are divided by it.
        exact_colour: colour changes step by step, see
            :class:`~ssl_norm.data.augment.colour.FusedColour`.
        dtype: of the views.

    Raises:
        UserError: a value is out of range, or kornia has no such operation or option.

    Example:
        >>> views = Views({"view": ViewParameters(flip=0.5)}, 8, (0.5,) * 3, (0.5,) * 3)
        >>> images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
        >>> [view.shape for view in views(images, Generator().manual_seed(0))]
        [torch.Size([4, 3, 8, 8])]
    """

    def __init__(
        self,
        parameters: Mapping[str, ViewParameters],
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        exact_colour: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.mean = mean
        self.std = std
        self.dtype = dtype
        self.views = [
            View(view, image_size, mean, std, exact_colour=exact_colour, key=f"augment.{name}")
            for name, view in parameters.items()
        ]

    @torch.no_grad()
    def __call__(
        self, images: Tensor, generator: Generator, rank: int = 0, world_size: int = 1
    ) -> tuple[Tensor, ...]:
        """Return the views.

        Args:
            images: (N, 3, H, W) uint8 on any device, any memory format; left as they are.
            generator: of the CPU; the only source of randomness.
            rank: this process draws rows rank * N to (rank + 1) * N of the global batch.
            world_size: number of processes; N must be the same on all of them.

        Returns:
            Each (N, 3, S, S), channels last, normalised.

        Raises:
            ValueError: the images have another shape or dtype.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            found = f"{tuple(images.shape)} {images.dtype}"
            raise ValueError(f"images must be (N, 3, H, W) of torch.uint8, got {found}")
        n, _, height, width = images.shape
        share = Share(n * world_size, slice(rank * n, (rank + 1) * n), height, width)
        with torch.autocast(images.device.type, enabled=False):
            drawn = [view.draw(share, generator) for view in self.views]
            moved = iter(to_device([stage for stages in drawn for stage in stages], images.device))
            pixels = unit_pixels(images)
            return tuple(
                view.apply(pixels, [next(moved) for _ in stages], self.dtype)
                for view, stages in zip(self.views, drawn, strict=True)
            )
