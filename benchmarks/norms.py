"""Cost of each norm relative to torch's BatchNorm2d: time, memory, and a training step.

    python benchmarks/norms.py --json norms.json > norms.md

Each section measures in alternating rounds of one process, and reports medians and quartiles:

    layers   forward and backward on the shapes of ResNet-18 at 32 px, in both memory formats
    memory   bytes kept for backward on the same shapes
    step     a step of BYOL with each norm in the encoder, compared with bn
    gpu      forward and backward on the shapes of ResNet-50 at 224 px, float32 and bfloat16,
             compared with cuDNN; skipped without a CUDA GPU

Times on a CPU depend on the allocator. By default, glibc returns large blocks to the system, so
every page of the next block must be mapped again. Therefore layers and step run in two processes:
one with the defaults, and one with larger MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ (only
with glibc).

All sections take about eight minutes on two idle CPU cores, of which step takes six. Each table is
printed when it is measured.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ssl_norm.norms import NORMS

ALLOCATORS: dict[str, dict[str, str]] = {
    "default": {},
    "raised": {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**32),
    },
}
SECTIONS = ("layers", "memory", "step", "gpu")
ALLOCATOR_MATTERS = {"layers", "step"}
QUICK = {
    "rounds": 1,
    "step_rounds": 1,
    "batch_size": 4,
    "step_batch_size": 4,
    "gpu_batch_size": 4,
    "encoder": "tiny",
}


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, names = parser.add_argument, list(NORMS)
    text = f"{', '.join(names)}, or a mapping such as '{{name: rbn, statistic: max}}'"
    add("--norms", nargs="+", default=names, metavar="NORM", help=text)
    add("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    add("--allocators", nargs="+", choices=list(ALLOCATORS), default=list(ALLOCATORS))
    add("--rounds", type=int, default=11, help="rounds of layers and gpu")
    add("--batch-size", type=int, default=128, help="of layers and memory")
    add("--step-rounds", type=int, default=3)
    add("--step-batch-size", type=int, default=32)
    add("--encoder", default="resnet18", help="of step: tiny, any timm model, torchvision/<model>")
    add("--imagenet-stem", action="store_true", help="use the stem for large images")
    add(
        "--contiguous",
        action="store_true",
        help="contiguous memory in step (the tools' default is channels_last)",
    )
    add("--gpu-batch-size", type=int, default=64)
    add("--threads", type=int, help="number of torch threads on the CPU")
    add("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a busy machine")
    add("--quick", action="store_true", help="one round of small batches, to test the script")
    add("--json", type=Path, help="JSON file for all figures")
    add("--one-process", nargs=2, metavar=("ALLOCATOR", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    if platform.libc_ver()[0] != "glibc":
        options.allocators = ["default"]
    return options


def run_process(allocator: str, sections: list[str], folder: Path) -> dict[str, Any]:
    """Return the figures measured in a subprocess with an allocator; exit if it fails."""
    file = folder / f"{allocator}.json"
    settings = {name for variables in ALLOCATORS.values() for name in variables}
    inherited = {name: value for name, value in os.environ.items() if name not in settings}
    finished = subprocess.run(
        [
            *(sys.executable, *sys.argv, "--sections", *sections),
            *("--one-process", allocator, str(file)),
        ],
        env=inherited | ALLOCATORS[allocator],
    )
    if finished.returncode:
        sys.exit(finished.returncode)
    results: dict[str, Any] = json.loads(file.read_text())
    return results


def main() -> None:
    """Measure, print tables, and write the file of --json."""
    options = parse_options()
    if options.one_process:
        from norm_costs.measure import measure

        allocator, file = options.one_process
        Path(file).write_text(json.dumps(measure(options, allocator)))
        return
    import torch
    from norm_costs.tables import header, targets

    from ssl_norm.train.environment import describe_environment

    if options.threads:
        torch.set_num_threads(options.threads)
    environment = describe_environment(torch.device("cpu")) | {"command": " ".join(sys.argv)}
    if torch.cuda.is_available():
        environment["gpu"] = torch.cuda.get_device_name()
    print("\n".join(header(environment)), flush=True)
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for allocator in options.allocators:
            todo = [s for s in options.sections if not runs or s in ALLOCATOR_MATTERS]
            if todo:
                runs[allocator] = run_process(allocator, todo, Path(folder))
    print("\n".join(targets(runs)))
    if options.json:
        options.json.write_text(json.dumps({"environment": environment, "runs": runs}) + "\n")


if __name__ == "__main__":
    main()
