"""3x3 convolutions of stride 1 by Winograd's minimal filtering, F(4 x 4, 3 x 3)."""

import threading
from collections.abc import Iterator
from functools import lru_cache
from math import ceil, prod
from typing import NamedTuple

import torch
from torch import Tensor

_TILE, _KERNEL = 4, 3  # pixels of the output, elements of the kernel, along an axis
_PATCH = _TILE + _KERNEL - 1  # pixels of the input from which a tile is computed
_POINTS_OF_PATCH = _PATCH * _PATCH
# Where polynomials are evaluated, with infinity. With these fractions the error of an output is
# half that with the usual 0, 1, -1, 2, -2 (results/speed.md).
_POINTS = (0, 2 / 3, -2 / 3, 4 / 3, -4 / 3)
_CHUNK = 2**21  # most elements of transformed pixels at a time (8 MiB)
# Transforms cost as much as this number of products for each channel (results/speed.md).
_TRANSFORM = 64
_LEAST_TILES = 32  # in all images, so that transforming the kernel pays
_kept = threading.local()


class Winograd(NamedTuple):
    """Forward pass and gradients of a 3x3 convolution with 36 products for 16 pixels, not 144.

    A tile of 4 x 4 pixels of the output is A ((G w) * (B x)) for its 6 x 6 patch x of the padded
    input and the kernel w; A, G and B are Kronecker squares of those of Toom and Cook for one axis,
    and the product * is one matrix product over channels and all tiles for each of 36 points.
    Source: Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4;
    the points, and the gradient of weights as the adjoint, are not theirs.

    Images are (N, H, W, channels), weights (channels out, 3, 3, channels in), all contiguous.
    """

    size: tuple[int, int]  # of the output
    padding: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles of an image along both axes."""
        return ceil(self.size[0] / _TILE), ceil(self.size[1] / _TILE)

    def is_worth(self, images: int, outputs: int, inputs: int) -> bool:
        """Return whether this is faster than oneDNN for a number of images and of channels.

        An image that would need buffers of more than 32 MiB is left to oneDNN.
        """
        tiles = prod(self.grid)
        points = _POINTS_OF_PATCH * tiles
        is_small = points * max(outputs, inputs) <= 4 * _CHUNK
        cost = points * (1 + _TRANSFORM / outputs + _TRANSFORM / inputs)
        return is_small and cost <= 5 * prod(self.size) and images * tiles >= _LEAST_TILES

    def output(self, images: Tensor, weight: Tensor) -> Tensor:
        """Return the output of the forward pass."""
        _, filters, _ = _matrices()
        return self._filtered(images, _transformed("kernel", filters, weight.flatten(1, 2)).mT)

    def gradient_of_images(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of images, a convolution with the turned kernel."""
        _, filters, _ = _matrices()
        sides = (side + 2 - 2 * pad for side, pad in zip(self.size, self.padding, strict=True))
        adjoint = Winograd((next(sides), next(sides)), (2 - self.padding[0], 2 - self.padding[1]))
        kernel = _transformed("kernel", filters.flip(1), weight.flatten(1, 2))
        return adjoint._filtered(gradient, kernel)

    def gradient_of_weight(self, gradient: Tensor, images: Tensor) -> Tensor:
        """Return the gradient of the weight."""
        outputs, filters, inputs = _matrices()
        channels = gradient.shape[-1], images.shape[-1]
        total = _buffer("kernel", _POINTS_OF_PATCH, *channels).zero_()
        for part in self._chunks(len(images), max(channels)):
            tiles = _transformed("products", outputs.T, self._tiles(gradient[part]))
            pixels = _transformed("pixels", inputs, self._patches(images[part]))
            total.baddbmm_(tiles.mT, pixels)
        kernels = filters.T.expand(channels[0], -1, -1)
        found = torch.bmm(kernels, total.transpose(0, 1))
        return found.view(channels[0], _KERNEL, _KERNEL, channels[1])

    def _filtered(self, images: Tensor, kernel: Tensor) -> Tensor:
        """Return the output for a transformed kernel (36, channels in, channels out)."""
        outputs, _, inputs = _matrices()
        channels = kernel.shape[-1]
        sides = (side * _TILE for side in self.grid)
        found = images.new_empty(len(images), *sides, channels)
        for part in self._chunks(len(images), max(kernel.shape[1:])):
            pixels = _transformed("pixels", inputs, self._patches(images[part]))
            products = _buffer("products", _POINTS_OF_PATCH, pixels.shape[1], channels)
            torch.bmm(pixels, kernel, out=products)
            tiles = _transformed("tiles", outputs, products.transpose(0, 1)).transpose(0, 1)
            here = _split(found[part], self.grid)
            here.copy_(tiles.view(here.shape))
        return found[:, : self.size[0], : self.size[1]].contiguous()

    def _chunks(self, images: int, channels: int) -> Iterator[slice]:
        """Yield slices of the images whose transformed pixels fit the buffers."""
        count = max(1, _CHUNK // (_POINTS_OF_PATCH * prod(self.grid) * channels))
        return (slice(first, first + count) for first in range(0, images, count))

    def _patches(self, images: Tensor) -> Tensor:
        """Return the patches (N tiles, 36, channels) of the padded images."""
        number, height, width, channels = images.shape
        (rows, columns), (top, left) = self.grid, self.padding
        shape = number, rows * _TILE + 2, columns * _TILE + 2, channels
        padded = _buffer("padded", *shape).zero_()
        padded[:, top : top + height, left : left + width] = images
        if rows * columns == 1:
            return padded.view(number, _POINTS_OF_PATCH, channels)
        patches = padded.unfold(1, _PATCH, _TILE).unfold(2, _PATCH, _TILE)
        found = _buffer("patches", number, rows, columns, _PATCH, _PATCH, channels)
        return found.copy_(patches.permute(0, 1, 2, 4, 5, 3)).view(-1, _POINTS_OF_PATCH, channels)

    def _tiles(self, gradient: Tensor) -> Tensor:
        """Return the tiles (N tiles, 16, channels) of a gradient, with zeros beyond its edges."""
        number, height, width, channels = gradient.shape
        sides = [side * _TILE for side in self.grid]
        if [height, width] != sides:
            padded = _buffer("padded", number, *sides, channels).zero_()
            padded[:, :height, :width] = gradient
            gradient = padded
        found = _buffer("tiles", number, *self.grid, _TILE, _TILE, channels)
        return found.copy_(_split(gradient, self.grid)).view(-1, _TILE * _TILE, channels)


def release_buffers() -> None:
    """Free the memory that this thread keeps between convolutions."""
    _kept.__dict__.clear()


def _split(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return a view (N, rows, columns, 4, 4, channels) of images as tiles."""
    rows, columns = grid
    return images.view(len(images), rows, _TILE, columns, _TILE, -1).transpose(2, 3)


def _transformed(name: str, matrix: Tensor, blocks: Tensor) -> Tensor:
    """Return matrix @ block for blocks (N, k, channels), as (rows of the matrix, N, channels)."""
    found = _buffer(name, len(blocks), len(matrix), blocks.shape[2])
    return torch.bmm(matrix.expand(len(blocks), -1, -1), blocks, out=found).transpose(0, 1)


def _buffer(name: str, *shape: int) -> Tensor:
    """Return memory for floats that later calls of the same name use again.

    New memory for each call would be returned to the system and cleared by it each time, which
    takes longer than the arithmetic.
    """
    size, kept = prod(shape), _kept.__dict__
    if name not in kept or kept[name].numel() < size:
        with torch.inference_mode(False):
            kept[name] = torch.empty(size, dtype=torch.float32)
    found: Tensor = kept[name][:size]
    return found.view(shape)


@lru_cache(maxsize=1)
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms (16, 36) of outputs, (36, 9) of kernels and (36, 36) of inputs.

    The product of polynomials of 4 and 3 coefficients is known from its values at 5 points and
    infinity (Toom and Cook). Its adjoint in the first factor is the convolution of a tile.
    """
    evaluated = {length: _powers(length) for length in (_TILE, _KERNEL, _PATCH)}
    inputs, filters = torch.linalg.inv(evaluated[_PATCH]).T, evaluated[_KERNEL]
    balance = (inputs.norm(dim=1, keepdim=True) / filters.norm(dim=1, keepdim=True)).sqrt()
    one_axis = evaluated[_TILE].T, filters * balance, inputs / balance
    outputs, filters, inputs = (torch.kron(matrix, matrix).float() for matrix in one_axis)
    return outputs, filters, inputs


def _powers(length: int) -> Tensor:
    """Return the matrix (6, length) that evaluates polynomials at the points and at infinity."""
    finite = [[point**power for power in range(length)] for point in _POINTS]
    return torch.tensor([*finite, [0.0] * (length - 1) + [1.0]], dtype=torch.float64)
