"""Cost of ghost batches by size, compared with a loop over chunks.

    python benchmarks/ghost.py > ghost.md

Forward and backward passes on the shapes of ResNet-18 at 32 px, in alternating rounds of one
process: torch's BatchNorm2d on the whole batch, `{name: bn, batch_size: n}` of this package, and
torch's batch norm in a loop over chunks of n samples. The loop updates the running statistics with
every chunk; this package updates them once per batch.
"""

import argparse
import sys

import torch
from norm_costs.contestants import REFERENCE, Build
from norm_costs.layers import RESNET18_AT_32, TOTAL, measure_layers
from norm_costs.tables import table, with_quartiles
from norm_costs.timing import cuda_clock, wall_clock
from torch import Tensor, nn

from ssl_norm.norms import make_norm
from ssl_norm.train.environment import describe_environment

SIZES = (2, 4, 8, 16, 32, 64, 128, 256)


class ChunkLoop(nn.Module):
    """Torch's batch norm, applied to one chunk after the other."""

    def __init__(self, num_features: int, batch_size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(num_features)
        self.batch_size = batch_size

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized chunks as one batch."""
        return torch.cat([self.norm(chunk) for chunk in x.split(self.batch_size)])


def ghost(size: int) -> Build:
    """Return a constructor of this package's batch norm with ghost batches."""
    return lambda channels: make_norm({"name": "bn", "batch_size": size}, channels)


def loop(size: int) -> Build:
    """Return a constructor of the loop over chunks."""
    return lambda channels: ChunkLoop(channels, size)


def main() -> None:
    """Print a table of costs for each memory format."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    sizes = [size for size in SIZES if size <= options.batch_size]
    builds: dict[str, Build] = {REFERENCE: nn.BatchNorm2d}
    for size in sizes:
        builds |= {f"ghost {size}": ghost(size), f"loop {size}": loop(size)}
    device = torch.device(options.device)
    environment = describe_environment(device)
    print(
        f"{environment['hardware']}, torch {environment['torch']}, commit {environment['commit']}."
    )
    print(f"\n    python {' '.join(sys.argv)}")
    measured = measure_layers(
        builds,
        RESNET18_AT_32,
        batch_size=options.batch_size,
        device=device,
        rounds=options.rounds,
        clock=cuda_clock if device.type == "cuda" else wall_clock,
        title="",
    )
    for name, costs in measured:
        print(f"\n## {name}, N = {options.batch_size}\n")
        whole = costs[REFERENCE].milliseconds[TOTAL]
        print(f"Ratios to BatchNorm2d's {whole:.1f} ms (median and quartiles).\n")
        rows = [
            (
                str(size),
                *(
                    with_quartiles(costs[f"{kind} {size}"].ratio[TOTAL])
                    for kind in ("ghost", "loop")
                ),
            )
            for size in sizes
        ]
        print("\n".join(table(["ghost batch", "this package", "loop over chunks"], rows)))


if __name__ == "__main__":
    main()
