"""CPU time of a BYOL step with one thing changed, as a ratio to the step of the default run.

    python benchmarks/step_variants.py --encoder resnet10t --imagenet-stem --batch-size 128

Everything is measured in one process, in alternating rounds:

    joint       view_statistics=joint: one forward pass over both views
    inference   the target's forward pass in inference mode, and a copy of its output
    foreach     SGD(foreach=True); the default run uses the loop that torch chooses on a CPU
    fused       SGD(fused=True)
    products    faster_convolutions(), as in every run on a CPU
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from norm_costs.byol_step import SIDE, make_byol, training_step
from norm_costs.timing import alternate, cpu_clock, spread
from torch import Tensor

from ssl_norm.learners.byol import BYOL
from ssl_norm.settings.sections import EncoderSettings
from ssl_norm.train.convolution.replace import faster_convolutions

VARIANTS = ("joint", "inference", "foreach", "fused", "products")


def step_of(
    variant: str, encoder: EncoderSettings, norm: str | None, views: Sequence[Tensor]
) -> Callable[[], None]:
    """Return a step of BYOL on two views (N, 3, H, W)."""
    learner = make_byol(encoder, norm, torch.channels_last)
    assert isinstance(learner, BYOL)
    if variant == "joint":
        learner.view_statistics = "joint"
    if variant == "inference":
        target = learner.target.forward

        def infer(view: Tensor) -> Tensor:
            with torch.inference_mode():
                output = target(view)
            return output.clone()

        learner.target.forward = infer
    ways = {name: True for name in ("foreach", "fused") if name == variant}
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-9, momentum=0.9, weight_decay=1e-4, **ways)
    step = partial(training_step(learner, optimizer), views)
    return faster_convolutions()(step) if variant == "products" else step


def main() -> None:
    """Measure the variants and print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="resnet10t")
    parser.add_argument("--imagenet-stem", action="store_true")
    parser.add_argument("--norm", help="of the encoder; default: its own")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = EncoderSettings(
        name=options.encoder, small_images=False if options.imagenet_stem else None
    )
    shape = (options.batch_size, 3, SIDE, SIDE)
    views = [torch.randn(shape).to(memory_format=torch.channels_last) for _ in range(2)]
    build = partial(step_of, encoder=encoder, norm=options.norm, views=views)
    calls = {"step": {name: build(name) for name in ("default", *VARIANTS)}}
    seconds = {
        name: cases["step"]
        for name, cases in alternate(calls, options.rounds, cpu_clock, "steps").items()
    }
    for name, taken in seconds.items():
        low, median, high = spread(taken / seconds["default"])
        print(f"{name:10} {np.median(taken):.3f} s  {median:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
