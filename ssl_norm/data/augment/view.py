"""One random view of a batch."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ssl_norm.data.augment.blur import GaussianBlur
from ssl_norm.data.augment.colour import ExactColour, FusedColour
from ssl_norm.data.augment.crop import CropResizeFlip
from ssl_norm.data.augment.kornia_stage import KorniaStage
from ssl_norm.data.augment.normalise import normalise_
from ssl_norm.data.augment.parameters import ViewParameters, check_normalisation
from ssl_norm.data.augment.solarize import Solarize
from ssl_norm.data.augment.transform import Drawn, Share, Stage


class View:
    """Crop and flip, colour, blur, solarization, kornia's operations, normalisation, in this order.

    Stages that cannot change anything are left out.

    Args:
        parameters: of the view.
        image_size: side of the view in pixels.
        mean: of each colour, in [0, 1].
        std: of each colour, above 0.
        exact_colour: colour changes step by step instead of as one matrix, see
            :class:`~ssl_norm.data.augment.colour.FusedColour`.
        key: where the view stands, for messages.
    """

    def __init__(
        self,
        parameters: ViewParameters,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        exact_colour: bool = False,
        key: str = "view",
    ) -> None:
        check_normalisation(mean, std)
        self.mean = mean
        self.std = std
        view = parameters
        self.stages: list[Stage] = [
            CropResizeFlip(image_size, view.crop_area, view.crop_ratio, view.flip)
        ]
        if view.jitter or view.grey:
            self.stages.append(ExactColour(view) if exact_colour else FusedColour(view))
        if view.blur:
            self.stages.append(GaussianBlur(image_size, view.blur, view.blur_sigma))
        if view.solarize:
            self.stages.append(Solarize(view.solarize, view.solarize_threshold))
        for index, entry in enumerate(view.extra):
            self.stages.append(KorniaStage(entry, image_size, f"{key}.extra[{index}]"))

    def draw(self, share: Share, generator: Generator) -> list[Drawn]:
        """Return the parameters of every stage for this rank's images, on the CPU."""
        return [stage.draw(share, generator) for stage in self.stages]

    def apply(self, pixels: Tensor, drawn: Sequence[Drawn], dtype: torch.dtype) -> Tensor:
        """Return the view.

        Args:
            pixels: (N, 3, H, W) float32 in [0, 1], contiguous; left as they are.
            drawn: what :meth:`draw` returned, on the pixels' device.
            dtype: of the view.

        Returns:
            (N, 3, S, S), channels last, normalised.
        """
        images = pixels
        for stage, parameters in zip(self.stages, drawn, strict=True):
            images = stage.apply(images, parameters)
        normalised = normalise_(images, self.mean, self.std)
        return normalised.to(dtype, memory_format=torch.channels_last)
