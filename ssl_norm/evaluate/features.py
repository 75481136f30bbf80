"""Features of a frozen encoder."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_norm.console import track
from ssl_norm.data.batches.sampler import epoch_order
from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.norms.batch.freezing import evaluation_mode


def extract_features(
    encoder: nn.Module,
    images: ImageSet,
    to_input: Callable[[Tensor], Tensor],
    *,
    batch_size: int = 256,
    random_batches: bool = False,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Tensor:
    """Return the features (N, F) of N images of any size, float32 on the CPU.

    The encoder maps pixels (B, 3, S, S) to (B, F). It is moved to `device` and to channels-last
    memory; its parameters, buffers (including running statistics of batch norms) and mode are
    unchanged. `to_input` maps uint8 pixels (B, H, W, 3) to its input, as :func:`evaluation_view`.

    With `random_batches`, batches are random, but always the same, instead of neighbours, which
    often share a class; this is for encoders whose features depend on the batch.

    Raises:
        UserError: a feature is NaN or infinite.
    """
    device = torch.device(device)
    encoder.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    order = epoch_order(len(images), 0, 0) if random_batches else torch.arange(len(images))
    parts = []
    batches, total = torch.split(order, batch_size), len(images)
    with evaluation_mode(encoder), torch.no_grad():
        for batch in track(batches, "features", total=total, step=batch_size, enabled=progress):
            view = to_input(images.take(batch).to(device))
            parts.append(encoder(view).float().cpu())
    features = torch.cat(parts)[order.argsort()]
    if not features.isfinite().all():
        raise UserError(
            "the encoder's features are not finite, because the run diverged; "
            "use an earlier checkpoint"
        )
    return features


def evaluation_view(
    pixels: Tensor, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Return the centre of images, resized and normalized, as an encoder's input in evaluation.

    Images up to `image_size` are used whole. Larger images are cropped to the central 7/8 (224 of
    256 pixels, as usual), but not below `image_size`. The crop is resized by bilinear interpolation
    with antialiasing. Then `mean` and `std` of each colour, in [0, 1], normalize it.

    Pixels are (B, H, H, 3) uint8; a ValueError is raised for others. The result is (B, 3, S, S)
    float32 with S = `image_size`, channels last in memory.
    """
    side = pixels.shape[1] if pixels.ndim == 4 else 0
    if pixels.dtype != torch.uint8 or pixels.shape[1:] != (side, side, 3):
        raise ValueError(
            f"uint8 pixels of shape (B, H, H, 3) expected, got {pixels.dtype} of shape "
            f"{tuple(pixels.shape)}; images (B, 3, H, W) need permute(0, 2, 3, 1)"
        )
    crop = min(side, max(image_size, round(side * 7 / 8)))
    start = (side - crop) // 2
    centre = pixels[:, start : start + crop, start : start + crop]
    view = centre.permute(0, 3, 1, 2).float() / 255
    if crop != image_size:
        size = (image_size, image_size)
        view = F.interpolate(view, size, mode="bilinear", antialias=True, align_corners=False)
    mean_column = torch.tensor(mean, device=view.device)[:, None, None]
    std_column = torch.tensor(std, device=view.device)[:, None, None]
    return ((view - mean_column) / std_column).contiguous(memory_format=torch.channels_last)
