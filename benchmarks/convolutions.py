"""CPU time of convolutions with small outputs: oneDNN against matrix products.

    python benchmarks/convolutions.py

Forward pass and the gradients of images and weights, each alone, in alternating rounds; 3x3 kernels
with padding 1, as in the last stages of ResNets at 32 px.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from norm_costs.timing import alternate, cpu_clock

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
]
PARTS = ("forward", "images", "weights")
REPEATS = 4  # in one measurement


def call_of(
    part: str, images: int, channels: int, outputs: int, side: int, stride: int
) -> Callable[[], None]:
    """Return a forward pass, or the gradient of images or of weights."""
    form = torch.channels_last
    x = torch.randn(images, channels, side, side).to(memory_format=form)
    weight = torch.randn(outputs, channels, 3, 3).to(memory_format=form)
    y = torch.nn.functional.conv2d(x, weight, None, stride, 1)
    gradient = torch.randn_like(y)
    geometry = ([stride, stride], [1, 1], [1, 1], False, [0, 0], 1)

    def call() -> None:
        for _ in range(REPEATS):
            if part == "forward":
                torch.nn.functional.conv2d(x, weight, None, stride, 1)
            else:
                mask = [part == "images", part == "weights", False]
                torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, mask)

    return call


def main() -> None:
    """Measure all cases and print a row of a Markdown table for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    calls = {}
    for case in CASES:
        for part in PARTS:
            call = call_of(part, *case)
            calls[str((case, part))] = {
                "oneDNN": call,
                "products": faster_convolutions()(call),
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
            cells.append(f"{before:.2f} to {after:.2f} ms")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
