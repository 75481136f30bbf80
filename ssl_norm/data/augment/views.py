"""Random views of the images of a batch."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ssl_norm.data.augment.colour import ExactColour, FusedColour
from ssl_norm.data.augment.extra import extra_transform
from ssl_norm.data.augment.filters import GaussianBlur, Solarize
from ssl_norm.data.augment.geometry import CropResizeFlip
from ssl_norm.data.augment.parameters import ViewParameters, check_normalisation
from ssl_norm.data.augment.transform import Params, Share, Transform
from ssl_norm.distributed import on_device

ALIGNMENT = 8  # bytes of the widest element
_GAP = 2  # pixels around a pair of views


def transforms_of(
    view: ViewParameters, image_size: int, exact_colour: bool, key: str
) -> Iterator[Transform]:
    """Yield the transforms of a view that have an effect, in their order; messages name `key`."""
    yield CropResizeFlip(image_size, view.crop_area, view.crop_ratio, view.flip)
    if view.jitter or view.grey:
        yield ExactColour(view) if exact_colour else FusedColour(view)
    if view.blur:
        yield GaussianBlur(probability=view.blur, sigma=view.blur_sigma)
    if view.solarize:
        yield Solarize(probability=view.solarize, threshold=view.solarize_threshold)
    for index, entry in enumerate(view.extra):
        yield extra_transform(entry, image_size, f"{key}.extra[{index}]")


class Views:
    """Views of a batch on its device, with separate random parameters for each image.

    All parameters are drawn on the CPU for the images of all ranks: the same generator gives the
    same views on every device, and several ranks see the same views as one process.

    `parameters` maps the name of each view, which is its key under `augment`, to its parameters.
    All views have sides of `image_size` pixels and are normalized by the mean and the deviation of
    each colour, for colours in [0, 1]. With `exact_colour`, one change of colour follows another;
    otherwise they are combined, see `FusedColour`.

    Raises:
        UserError: a value is out of range, or kornia has no such operation or option.
    """

    def __init__(
        self,
        parameters: Mapping[str, ViewParameters],
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        exact_colour: bool = False,
    ) -> None:
        self.mean, self.std = mean, std
        check_normalisation(mean, std)
        self.views = [
            list(transforms_of(view, image_size, exact_colour, f"augment.{name}"))
            for name, view in parameters.items()
        ]

    @torch.no_grad()
    def __call__(
        self, images: Tensor, generator: Generator, rank: int = 0, world_size: int = 1
    ) -> tuple[Tensor, ...]:
        """Return the normalized views of images (N, 3, H, W) uint8, each (N, 3, S, S).

        Views are channels last. The generator, of the CPU, is the only source of randomness. This
        process draws rows rank * N to (rank + 1) * N of the global batch.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
            found = f"{tuple(images.shape)} {images.dtype}"
            raise ValueError(f"images must be (N, 3, H, W) of torch.uint8, got {found}")
        n, _, height, width = images.shape
        share = Share(n * world_size, slice(rank * n, (rank + 1) * n), height, width)
        with torch.autocast(images.device.type, enabled=False):
            drawn = [t.draw(share, generator) for view in self.views for t in view]
            params = iter(to_device(drawn, images.device))
            contiguous = torch.contiguous_format
            pixels = images.to(torch.float32, memory_format=contiguous).mul_(1 / 255)
            views = []
            for transforms in self.views:
                view = pixels
                for transform in transforms:
                    view = transform.apply(view, next(params))
                view = normalise_(view, self.mean, self.std)
                views.append(view.to(memory_format=torch.channels_last))
            return tuple(views)

    def grid(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Return the first 32 pairs of views (N, 3, S, S) as one image, with white between them.

        It is (3, height, width) uint8 on the CPU, and has no empty rows.
        """
        count = min(len(view1), 32)
        columns = min(4, count)
        rows = -(-count // columns)
        pairs = torch.cat((view1[:count], view2[:count]), 3)
        pixels = (denormalise(pairs, self.mean, self.std) * 255).round().byte().cpu()
        framed = F.pad(pixels, (0, _GAP, 0, _GAP), value=255)
        _, _, height, width = framed.shape
        cells = framed.new_full((rows * columns, 3, height, width), 255)
        cells[:count] = framed
        table = cells.view(rows, columns, 3, height, width).permute(2, 0, 3, 1, 4)
        picture = table.reshape(3, rows * height, columns * width)
        return F.pad(picture, (_GAP, 0, _GAP, 0), value=255)


def to_device(parameters: list[Params], device: torch.device) -> list[Params]:
    """Return the parameters with their tensors on the device; other values are unchanged."""
    if device.type == "cpu":
        return parameters
    tensors = [v for drawn in parameters for v in drawn.values() if isinstance(v, Tensor)]
    moved = iter(move_together(tensors, device))
    return [
        {key: next(moved) if isinstance(value, Tensor) else value for key, value in drawn.items()}
        for drawn in parameters
    ]


def move_together(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """Copy CPU tensors to the device in one transfer; the copies share a buffer."""
    raw = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]
    padded = [F.pad(part, (0, -len(part) % ALIGNMENT)) for part in raw]
    packed = torch.cat(padded)
    pieces = torch.split(on_device(packed, device), [len(part) for part in padded])
    return [
        piece[: len(part)].view(tensor.dtype).view(tensor.shape)
        for piece, part, tensor in zip(pieces, raw, tensors, strict=True)
    ]


def normalise_(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise each colour of images (N, 3, H, W) in place, and return the images."""
    for channel in range(3):
        images[:, channel].sub_(mean[channel]).mul_(1 / std[channel])
    return images


def denormalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return normalised images (N, 3, H, W) as float32 in [0, 1]."""
    scale = torch.tensor(list(std), device=images.device)[:, None, None]
    shift = torch.tensor(list(mean), device=images.device)[:, None, None]
    return (images.float() * scale + shift).clamp_(0, 1)
