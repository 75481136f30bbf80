"""CPU time and errors of convolutions that training replaces: oneDNN against matrix products.

    python benchmarks/convolutions.py

Forward pass and the gradients of images and weights, each alone, in alternating rounds; 3x3 kernels
with padding 1, as in stages of ResNets at 32 px (two: at 224 px). Errors are norms of differences
from float64, relative to the norm of the result.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from norm_costs.timing import alternate, cpu_clock
from torch import Tensor

from ssl_norm.train.convolution.replace import faster_convolutions

# images, input channels, output channels, side of the input, stride
CASES = [
    (128, 512, 512, 1, 1),
    (128, 256, 512, 2, 2),
    (128, 256, 256, 2, 1),
    (128, 128, 256, 4, 2),
    (128, 128, 128, 4, 1),
    (64, 512, 512, 4, 1),
    (64, 256, 512, 8, 2),
    (64, 256, 256, 8, 1),
    (64, 128, 128, 16, 1),
    (64, 64, 64, 32, 1),
    (32, 512, 512, 7, 1),
    (16, 128, 128, 28, 1),
]
PARTS = ("forward", "images", "weights")
REPEATS = 16  # in one measurement, the first with new buffers


def call_of(
    part: str,
    images: int,
    channels: int,
    outputs: int,
    side: int,
    stride: int,
    dtype: torch.dtype = torch.float32,
) -> Callable[[], Tensor]:
    """Return a forward pass, or the gradient of images or of weights, on the same random values."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator)
        return values.to(dtype, memory_format=torch.channels_last)

    x, weight = drawn(images, channels, side, side), drawn(outputs, channels, 3, 3)
    size = (side - 1) // stride + 1
    gradient = drawn(images, outputs, size, size)
    geometry = ([stride, stride], [1, 1], [1, 1], False, [0, 0], 1)
    if part == "forward":
        return partial(torch.nn.functional.conv2d, x, weight, None, stride, 1)
    mask = [part == "images", part == "weights", False]
    call = partial(torch.ops.aten.convolution_backward, gradient, x, weight, None, *geometry, mask)
    return lambda: call()[mask.index(True)]


def repeated(call: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a call that is long enough to be timed."""

    def repeat() -> None:
        for _ in range(REPEATS):
            call()

    return repeat


def main() -> None:
    """Measure all cases and print a row of a Markdown table for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    calls, errors = {}, {}
    for case in CASES:
        for part in PARTS:
            call = call_of(part, *case)
            ways = {"oneDNN": call, "products": faster_convolutions()(call)}
            exact = call_of(part, *case, dtype=torch.float64)()
            errors[case, part] = [
                float((way() - exact).norm() / exact.norm()) for way in ways.values()
            ]
            calls[str((case, part))] = {
                "oneDNN": repeated(call),
                "products": faster_convolutions()(repeated(call)),
            }
    seconds = alternate(calls, options.rounds, cpu_clock, "convolutions")
    print("| images | channels | side, stride | " + " | ".join(PARTS) + " |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        images, channels, outputs, side, stride = case
        cells = [str(images), f"{channels} to {outputs}", f"{side}, {stride}"]
        for part in PARTS:
            before, after = (
                1000 * float(np.median(seconds[way][str((case, part))])) / REPEATS
                for way in ("oneDNN", "products")
            )
            from_float64 = " to ".join(f"{error:.1e}" for error in errors[case, part])
            cells.append(f"{before:.2f} to {after:.2f} ms ({from_float64})")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
