"""Posterization: fewer levels of brightness."""

from typing import Annotated

from annotated_types import Interval
from torch import Generator, Tensor

from ssl_norm.data.augment.transform import Params, Share, sample_events


class Posterize:
    """Round pixels to a few levels.

    Args:
        probability: probability that an image is posterized.
        bits: number of bits of the result, which has 2**bits levels.
    """

    def __init__(
        self,
        *,
        probability: Annotated[float, Interval(ge=0, le=1)] = 0.5,
        bits: Annotated[int, Interval(ge=1, le=8)] = 3,
    ) -> None:
        self.probability = probability
        self.bits = bits

    def draw(self, share: Share, generator: Generator) -> Params:
        """Return the rows to posterize."""
        chosen = sample_events(share.total, self.probability, generator)[share.rows]
        return {"rows": chosen.nonzero()[:, 0]}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return the images, of which some are posterized."""
        steps = 2**self.bits - 1
        images[params["rows"]] = (images[params["rows"]] * steps).round() / steps
        return images
