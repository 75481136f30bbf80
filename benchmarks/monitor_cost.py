"""Cost of CollapseMonitor, as a share of a step of BYOL with ResNet-18 at 32 px.

    OMP_NUM_THREADS=1 python benchmarks/monitor_cost.py > monitor_cost.md

Each round has, in rotating order, one step without monitoring and one step with each part of it:

    every step     cosines, feature std and buffer, with hooks attached to the layers
    spectrum       as `every step`, plus the spectral monitors of a full buffer of 1,024 embeddings
    layers         as `every step`, plus all layers of encoder and heads

A call of `collect` is timed as well. The share is the time inside the monitor and its hooks, from
medians over the rounds at the default intervals. On a CPU the clock counts the CPU time of this
process, on which other work of the machine has little effect; on a GPU it synchronizes before and
after each step. The difference of whole steps includes all effects, but also their noise.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from statistics import median, quantiles

import torch
from torch import Tensor

from ssl_norm.learners.byol import BYOL
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import mlp_head
from ssl_norm.monitors import CollapseMonitor, LayerMonitor, layers_of
from ssl_norm.monitors.layers import LayerOutputs
from ssl_norm.settings.pretrain import MonitorSettings
from ssl_norm.train.device import autocast, pick_device
from ssl_norm.train.environment import describe_environment

WITHOUT, CHEAP, SPECTRUM, LAYERS = "without", "every step", "spectrum", "layers"
KINDS = (WITHOUT, CHEAP, SPECTRUM, LAYERS)
NEVER = 10**9
ORDINARY = 3  # measured only at intervals of 1; powers of two are early steps of layers
HIDDEN, WIDTH = 4096, 256


class Clock:
    """Total seconds of its `with` blocks: CPU time, or elapsed time on a GPU."""

    def __init__(self, device: torch.device) -> None:
        is_gpu = device.type == "cuda"
        self._wait = torch.cuda.synchronize if is_gpu else lambda: None
        self._now = time.perf_counter if is_gpu else time.process_time
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time a block."""
        self._wait()
        begin = self._now()
        yield
        self._wait()
        self.seconds += self._now() - begin


class Training:
    """Training steps of BYOL on two batches of noise, with any part of the monitoring."""

    def __init__(self, batch_size: int, device: torch.device, config: MonitorSettings) -> None:
        self._device = device
        encoder = build_encoder("resnet18", small_images=True, image_size=32)
        heads = [
            mlp_head(width, hidden_dim=HIDDEN, output_dim=WIDTH, layers=2, norm="bn")
            for width in (encoder.num_features, WIDTH)
        ]
        self._learner = BYOL(encoder, *heads).to(device, memory_format=torch.channels_last)
        parameters = [p for p in self._learner.parameters() if p.requires_grad]
        self._optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-4)
        self._views = [self._noise(batch_size, 3, 32, 32) for _ in range(2)]
        self._layers = layers_of(encoder, *heads)
        self._monitors = {
            kind: self._monitor(config, every=1 if kind == SPECTRUM else NEVER)
            for kind in KINDS[1:]
        }

    def step(self, kind: str) -> tuple[float, float]:
        """Take one step; return its seconds and the monitor's share of them."""
        whole, inside = Clock(self._device), Clock(self._device)
        monitor = self._monitors.get(kind)
        hooks = None
        if monitor:
            hooks = LayerMonitor(self._layers, every=1 if kind == LAYERS else NEVER)
            monitor.layers = hooks
            monitor.start(ORDINARY)
        with whole.running(), timed_hooks(inside) if hooks else nullcontext():
            with autocast(self._device, "auto"):
                output = self._learner(*self._views)
            self._optimizer.zero_grad()
            output.loss.backward()
            if monitor:
                with inside.running():
                    monitor.observe(ORDINARY, output.pairs, output.loss)
            self._optimizer.step()
            self._learner.after_step(0.0)
        if hooks and monitor:
            hooks.remove()
            monitor.layers = None
        return whole.seconds, inside.seconds

    def collect(self, steps: int) -> float:
        """Return the seconds of a copy of the cheap measurements of `steps` steps to the CPU."""
        clock, monitor = Clock(self._device), self._monitors[CHEAP]
        monitor.collect()
        rows = self._noise(2, WIDTH)
        for step in range(1, steps + 1):
            monitor.observe(step, [(rows, rows)])
        with clock.running():
            monitor.collect()
        return clock.seconds

    def _monitor(self, config: MonitorSettings, every: int) -> CollapseMonitor:
        """Return a monitor with a full buffer."""
        monitor = CollapseMonitor(
            spectral_every=every, buffer_size=config.buffer_size, loss_at_collapse=0.0
        )
        rows = self._noise(config.buffer_size, WIDTH)
        monitor.observe(0, [(rows, rows)])
        return monitor

    def _noise(self, *shape: int) -> Tensor:
        noise = torch.randn(shape, device=self._device)
        return noise.to(memory_format=torch.channels_last) if noise.ndim == 4 else noise


@contextmanager
def timed_hooks(clock: Clock) -> Iterator[None]:
    """Time the hooks on layers."""
    keep: Callable[..., None] = LayerOutputs.keep

    def timed(*arguments: object) -> None:
        with clock.running():
            keep(*arguments)

    LayerOutputs.keep = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        LayerOutputs.keep = keep  # type: ignore[method-assign]


def measure(
    training: Training, rounds: int, log_every: int
) -> tuple[dict[str, list[tuple[float, float]]], float]:
    """Return seconds (whole, inside) by kind and round, and of `collect`, after a warm-up."""
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    collects = []
    for index in range(-2, rounds):
        turned = KINDS[index % len(KINDS) :] + KINDS[: index % len(KINDS)]
        for kind in turned:
            seconds = training.step(kind)
            if index >= 0:
                taken[kind].append(seconds)
        collects.append(training.collect(log_every))
    return taken, median(collects[2:])


def table(
    taken: dict[str, list[tuple[float, float]]], collect: float, config: MonitorSettings
) -> str:
    """Return the costs as Markdown."""
    step = median(whole for whole, _ in taken[WITHOUT])
    inside = {kind: median(seconds for _, seconds in taken[kind]) for kind in KINDS}
    rows = [
        (CHEAP, CHEAP, inside[CHEAP], 1),
        ("collect", None, collect, config.log_every),
        (SPECTRUM, SPECTRUM, inside[SPECTRUM] - inside[CHEAP], config.spectral_every),
        (LAYERS, LAYERS, inside[LAYERS] - inside[CHEAP], config.layers_every),
    ]
    lines = [
        "| part | ms each time | every | share of a step | whole steps, ms more (quartiles) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {1e3 * seconds:.2f} | {every} | {seconds / every / step:.3%} | "
        f"{'' if kind is None else differences(taken, kind)} |"
        for name, kind, seconds, every in rows
    ]
    total = sum(seconds / every for _, _, seconds, every in rows)
    lines.append(f"| **all** | {1e3 * total:.2f} on average | | **{total / step:.3%}** | |")
    return "\n".join([*lines, "", f"A step without monitoring takes {1e3 * step:.1f} ms (median)."])


def differences(taken: dict[str, list[tuple[float, float]]], kind: str) -> str:
    """Return median and quartiles of the difference from the step without monitoring."""
    pairs = zip(taken[kind], taken[WITHOUT], strict=True)
    low, middle, high = quantiles([1e3 * (a - b) for (a, _), (b, _) in pairs], n=4)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    """Print a table of costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds of four steps, at least 2")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, help="default: 64 on a CPU, 256 on a GPU")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error(f"--rounds {options.rounds}: at least 2, for quartiles")
    device = pick_device(options.device)
    config = MonitorSettings()
    batch_size = options.batch_size or (256 if device.type == "cuda" else 64)
    torch.manual_seed(0)
    training = Training(batch_size, device, config)
    taken, collect = measure(training, options.rounds, config.log_every)
    print(f"BYOL, ResNet-18 at 32 px, batch {batch_size}, {options.rounds} rounds.\n")
    print(table(taken, collect, config), end="\n\n")
    print("\n".join(f"- {name}: {text}" for name, text in describe_environment(device).items()))


if __name__ == "__main__":
    main()
