"""Measurement of all chosen sections in one process."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from ssl_norm.settings.sections import EncoderSettings
from ssl_norm.train.environment import describe_environment

from .byol_step import SIDE, measure_steps
from .contestants import Build, contestants, rule_norms
from .gpu import measure_gpu
from .layers import RESNET18_AT_32, measure_layers
from .memory import measure_memory
from .tables import LABELS, sections
from .timing import cpu_clock, wall_clock

CLOCKS = {"wall": wall_clock, "cpu": cpu_clock}


def measure(options: argparse.Namespace, allocator: str) -> dict[str, Any]:
    """Print the tables of each chosen section when it ends, and return all figures for JSON.

    Args:
        options: options of benchmarks/norms.py.
        allocator: name of the allocator.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    builds = contestants(options.norms)
    results: dict[str, Any] = {
        "environment": describe_environment(torch.device("cpu")),
        "rules": rule_norms(builds),
        "batch_size": options.batch_size,
        "gpu_batch_size": options.gpu_batch_size,
    }
    sizes = dict(results)
    for section, costs in _measured(options, allocator, builds):
        plain = json.loads(json.dumps(costs, default=asdict))
        results[section] = results.get(section, {}) | plain
        print("\n".join(sections(sizes | {section: plain}, LABELS[allocator])), flush=True)
    return results


def _measured(
    options: argparse.Namespace, allocator: str, builds: dict[str, Build]
) -> Iterator[tuple[str, Any]]:
    """Yield the name and the costs of each section; layers have one for each memory format."""
    if "layers" in options.sections:
        for name, costs in measure_layers(
            builds,
            RESNET18_AT_32,
            batch_size=options.batch_size,
            device=torch.device("cpu"),
            rounds=options.rounds,
            clock=CLOCKS[options.clock],
            title=f"layers, {allocator}, ",
        ):
            yield "layers", {name: costs}
    if "memory" in options.sections:
        yield "memory", measure_memory(builds, RESNET18_AT_32, options.batch_size)
    if "step" in options.sections:
        yield "step", _step(options, allocator)
    if "gpu" in options.sections and torch.cuda.is_available():
        yield (
            "gpu",
            measure_gpu(builds, batch_size=options.gpu_batch_size, rounds=options.rounds),
        )
    elif "gpu" in options.sections:
        print("gpu: skipped, torch finds no CUDA GPU", file=sys.stderr)


def _step(options: argparse.Namespace, allocator: str) -> dict[str, Any]:
    """Return the setting and the costs of a step."""
    stem = "with its ImageNet stem" if options.imagenet_stem else "with a stem for small images"
    layout = "contiguous" if options.contiguous else "channels_last"
    costs = measure_steps(
        options.norms,
        encoder=EncoderSettings(
            name=options.encoder, small_images=False if options.imagenet_stem else None
        ),
        batch_size=options.step_batch_size,
        channels_last=not options.contiguous,
        rounds=options.step_rounds,
        clock=CLOCKS[options.clock],
        title=f"step, {allocator}",
    )
    size = f"{options.step_batch_size} images of {SIDE} px"
    return {"setting": f"{options.encoder} {stem}, {size}, {layout}", "costs": costs}
