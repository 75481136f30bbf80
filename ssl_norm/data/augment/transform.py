"""What a view is made of."""

from typing import Any, NamedTuple, Protocol

from torch import Generator, Tensor

Drawn = dict[str, Any]


class Share(NamedTuple):
    """The images of the global batch that this rank augments.

    Attributes:
        total: images over all ranks.
        rows: which of them are this rank's.
        height: of the images before any crop, in pixels.
        width: likewise.
    """

    total: int
    rows: slice
    height: int
    width: int


class Stage(Protocol):
    """One operation of a view: its parameters are drawn apart from the pixels."""

    def draw(self, share: Share, generator: Generator) -> Drawn:
        """Return CPU parameters of this rank's images.

        Always draws for the global batch, so that the generator moves alike on every rank and W
        ranks see what one process sees.
        """
        ...

    def apply(self, images: Tensor, drawn: Drawn) -> Tensor:
        """Return the changed images, (N, 3, H, W) in [0, 1]; may overwrite what it was given."""
        ...
