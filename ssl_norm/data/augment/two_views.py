"""Two random views of every image of a batch."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.grid import view_grid
from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.views import Views


class TwoViews(Views):
    """Makes two views of a batch; see :class:`Views`.

    Args:
        view1: parameters of the first view.
        view2: parameters of the second view.
        image_size: side S of a view in pixels.
        mean: of each colour, in [0, 1].
        std: of each colour, above 0.
        exact_colour: colour changes step by step.
        dtype: of the views.

    Example:
        >>> flipped = ViewParameters(flip=0.5)
        >>> views = TwoViews(ViewParameters(), flipped, 8, (0.5,) * 3, (0.5,) * 3)
        >>> images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
        >>> view1, view2 = views(images, Generator().manual_seed(0))
        >>> view2.shape
        torch.Size([4, 3, 8, 8])
    """

    def __init__(
        self,
        view1: ViewParameters,
        view2: ViewParameters,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        exact_colour: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        parameters = {"view1": view1, "view2": view2}
        super().__init__(parameters, image_size, mean, std, exact_colour=exact_colour, dtype=dtype)

    def __call__(
        self, images: Tensor, generator: Generator, rank: int = 0, world_size: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return two views (N, 3, S, S), channels last, normalised; see :meth:`Views.__call__`."""
        view1, view2 = super().__call__(images, generator, rank, world_size)
        return view1, view2

    def grid(self, view1: Tensor, view2: Tensor, rows: int = 8, columns: int = 4) -> Tensor:
        """Return pairs of views as one uint8 picture, see :func:`view_grid`."""
        return view_grid(view1, view2, self.mean, self.std, rows, columns)
