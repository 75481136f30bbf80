"""Costs of layers on a CUDA GPU, relative to cuDNN's batch norm, and bandwidth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from .contestants import Build
from .layers import TOTAL, LayerCost, measure_layers
from .timing import cuda_clock

RESNET50_AT_224 = (
    (64, 112, 112),
    (64, 56, 56),
    (256, 56, 56),
    (128, 28, 28),
    (512, 28, 28),
    (256, 14, 14),
    (1024, 14, 14),
    (512, 7, 7),
    (2048, 7, 7),
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# x is read for the moments and for the map, and y is written; dy and x are read twice each, and dx
# is written.
PASSES = 8
COPY_BYTES = 2**30


@dataclass(frozen=True)
class GpuCost:
    """Costs of layers for one dtype and memory format.

    Attributes:
        layers: costs by name.
        bandwidth_share: for norms with statistics by name, over all shapes: the bytes that must
            move, divided by the time, as a share of the bandwidth of a copy on the device.
    """

    layers: dict[str, LayerCost]
    bandwidth_share: dict[str, float]


def copy_bandwidth(device: torch.device) -> float:
    """Return the bytes per second that a copy on the device reads and writes, median of ten."""
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = [cuda_clock(lambda: target.copy_(source)) for _ in range(11)]
    return 2 * COPY_BYTES / float(np.median(seconds[1:]))


def measure_gpu(
    builds: Mapping[str, Build], *, batch_size: int, rounds: int
) -> dict[str, float | dict[str, GpuCost]]:
    """Return the copy's bandwidth in GB/s and the costs by `dtype, memory format`."""
    device = torch.device("cuda")
    bandwidth = copy_bandwidth(device)
    values = sum(batch_size * int(np.prod(shape)) for shape in RESNET50_AT_224)
    costs: dict[str, GpuCost] = {}
    for dtype_name, dtype in DTYPES.items():
        for format_name, layers in measure_layers(
            builds,
            RESNET50_AT_224,
            batch_size=batch_size,
            device=device,
            rounds=rounds,
            clock=cuda_clock,
            title=f"GPU, {dtype_name}, ",
            dtype=dtype,
        ):
            moved = PASSES * values * dtype.itemsize
            shares = {
                name: round(moved / (cost.milliseconds[TOTAL] / 1000) / bandwidth, 3)
                for name, cost in layers.items()
            }
            costs[f"{dtype_name}, {format_name}"] = GpuCost(layers, shares)
    return {"copy_gigabytes_per_second": round(bandwidth / 1e9), "costs": costs}
