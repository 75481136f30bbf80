"""Images per second of BYOL on CIFAR-10 files: a bare loop, ssl_norm and lightly's example.

    pip install -e ".[bench]" && python benchmarks/pretrain_throughput.py --root data/cifar10

All have the same network, loss, optimizer and EMA. Each runs in its own process, so that none
changes torch for another one, and they take turns:

    bare           tensors in memory, without files, augmentation, monitors or logs
    bare_nhwc      the same with channels_last
    ssl_norm       tools/pretrain.py with files, augmentation, monitors, metrics.csv, TensorBoard
    ssl_compiled   the same with compile=true
    lightly        lightly's BYOL example: its transform, a two-worker DataLoader on the same files
"""

import argparse
import copy
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_norm.settings.compose import compose_settings
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.train.builder import initial_encoder, load_images, make_learner
from ssl_norm.train.device import autocast, pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.loop import train
from ssl_norm.train.pretrain_builder import make_training
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import Recorder, RunFiles
from ssl_norm.train.run_folder import RunFolder

NETWORKS = {
    "resnet10t": ("encoder.name=resnet10t", "encoder.small_images=false", "batch_size=128"),
    "resnet18": ("encoder.name=resnet18", "encoder.small_images=true", "batch_size=64"),
}
Loop = Callable[[Iterator[None]], None]  # takes a step for each item


def configuration(root: str, overrides: tuple[str, ...]) -> PretrainSettings:
    """Return the settings of tools/pretrain.py for BYOL on a folder of CIFAR-10 files."""
    config: PretrainSettings = compose_settings(
        "pretrain",
        "data=folder",
        f"data.root='{root}'",
        "data.image_size=32",
        "augment=byol_small",
        "optimizer.lr=0.05",
        "epochs=1000",
        *overrides,
    )
    return config


def parts(
    config: PretrainSettings, device: torch.device
) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the online encoder and heads, and the target's encoder and projector."""
    learner = make_learner(config, initial_encoder(config)[0])
    online = [learner.encoder, learner.projector, learner.predictor]
    online = [module.to(device) for module in online]
    return online, [copy.deepcopy(module).requires_grad_(False) for module in online[:2]]


def plain_byol(
    online: list[nn.Module],
    target: list[nn.Module],
    views: Iterator[tuple[Tensor, Tensor]],
    config: PretrainSettings,
    device: torch.device,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    follow: Callable[[list[nn.Module], list[nn.Module]], None],
) -> Loop:
    """Return a plain BYOL loop over given views."""
    encoder, projector, predictor = online
    parameters = [p for module in online for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.025, momentum=0.9, weight_decay=1e-4)

    def loop(turns: Iterator[None]) -> None:
        for _, (view1, view2) in zip(turns, views):  # noqa: B905 - both may be endless
            with autocast(device, config.precision):
                p1, p2 = (predictor(projector(encoder(view))) for view in (view1, view2))
                with torch.no_grad():
                    t1, t2 = (target[1](target[0](view)) for view in (view1, view2))
                loss = loss_of(p1, t2) + loss_of(p2, t1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            follow(online[:2], target)

    return loop


def bare(
    config: PretrainSettings, device: torch.device, memory_format: torch.memory_format
) -> Loop:
    """Return the loop on tensors in memory."""
    online, target = parts(config, device)
    for module in (*online, *target):
        module.to(memory_format=memory_format)
    size = config.data.view_size
    views = [
        torch.randn(config.batch_size, 3, size, size, device=device).to(memory_format=memory_format)
        for _ in range(2)
    ]

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield views[0], views[1]

    def loss_of(p: Tensor, t: Tensor) -> Tensor:
        return 2 - 2 * nn.functional.cosine_similarity(p.float(), t.float()).mean()

    @torch.no_grad()
    def follow(sources: list[nn.Module], targets: list[nn.Module]) -> None:
        moving = [p for module in targets for p in module.parameters()]
        followed = [p for module in sources for p in module.parameters()]
        torch._foreach_lerp_(moving, followed, 0.004)

    return plain_byol(online, target, endless(), config, device, loss_of, follow)


def lightly_example(config: PretrainSettings, device: torch.device, root: str) -> Loop:
    """Return lightly's BYOL example on the same files and network."""
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.utils import update_momentum
    from lightly.transforms.byol_transform import (
        BYOLTransform,
        BYOLView1Transform,
        BYOLView2Transform,
    )
    from torchvision.datasets import ImageFolder

    size = config.data.view_size
    transform = BYOLTransform(
        BYOLView1Transform(input_size=size, gaussian_blur=0.0),
        BYOLView2Transform(input_size=size, gaussian_blur=0.0),
    )
    loader = torch.utils.data.DataLoader(
        ImageFolder(str(Path(root) / "train"), transform),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
    )

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for (view1, view2), _ in loader:
                yield view1.to(device), view2.to(device)

    def follow(sources: list[nn.Module], targets: list[nn.Module]) -> None:
        for source, moving in zip(sources, targets, strict=True):
            update_momentum(source, moving, m=0.996)

    online, target = parts(config, device)
    return plain_byol(online, target, endless(), config, device, NegativeCosineSimilarity(), follow)


def ssl_norm_path(config: PretrainSettings, device: torch.device, folder: Path) -> Loop:
    """Return the loop of tools/pretrain.py, with its files, augmentation, monitors and records."""
    splits = load_images(config.data, config.seed)
    run = make_training(config, initial_encoder(config)[0], splits.pretrain, device, None)
    line = ProgressLine(0, run.steps, text=run.text, visible=False)
    folder.mkdir()
    files = RunFiles(RunFolder(folder), 0, config.loggers)
    recorder = Recorder(files, run.monitor, line, config.monitor.on_collapse)

    def loop(turns: Iterator[None]) -> None:
        batches = (batch for _, batch in zip(turns, run.batches))  # noqa: B905
        with suppress(StopIteration):
            train(replace(run, batches=batches), recorder.row, lambda step: None)

    return loop


def timed_turns(connection: Connection, device: torch.device) -> Iterator[None]:
    """Yield as often as a received number says, and send the seconds; 0 ends it."""
    connection.send(0.0)
    while steps := connection.recv():
        started = time.perf_counter()
        for _ in range(steps):
            yield
        if device.type == "cuda":
            torch.cuda.synchronize()
        connection.send(time.perf_counter() - started)


def contestant(
    connection: Connection, name: str, root: str, overrides: tuple[str, ...], folder: str
) -> None:
    """Run a contestant in this process as :func:`timed_turns` says."""
    config = configuration(root, overrides)
    device = pick_device(config.device)
    if name.startswith("bare"):
        nhwc = name == "bare_nhwc"
        run = bare(config, device, torch.channels_last if nhwc else torch.contiguous_format)
    elif name == "lightly":
        run = lightly_example(config, device, root)
    else:
        config = config.model_copy(update={"compile": name == "ssl_compiled"})
        run = ssl_norm_path(config, device, Path(folder, name))
    run(timed_turns(connection, device))


def measure(
    names: list[str], root: str, overrides: tuple[str, ...], images: int, rounds: int, steps: int
) -> dict[str, list[float]]:
    """Return images per second by contestant and round, after one warm-up round."""
    rates: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ends = {}
        for name in names:
            ends[name], other = multiprocessing.Pipe()
            arguments = (other, name, root, overrides, folder)
            multiprocessing.get_context("spawn").Process(target=contestant, args=arguments).start()
            other.close()
            ends[name].recv()  # when it is ready
        for index in range(rounds + 1):
            for name, end in ends.items():
                end.send(steps)
                rate = steps * images / end.recv()
                print(f"round {index} of {rounds}: {name} {rate:.1f} images/s", flush=True)
                if index:
                    rates[name].append(rate)
        for end in ends.values():
            end.send(0)
    return rates


def main() -> None:
    """Measure each network and print a table; write JSON with --output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", required=True, help="CIFAR-10 as files: train/<class>/*.jpg, test/..."
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="steps per round")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--batch-size", type=int, help="batch size for all networks, instead of their defaults"
    )
    parser.add_argument("--without-lightly", action="store_true")
    parser.add_argument("--compile", action="store_true", help="measure compile=true as well")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    device = pick_device(options.device)
    results: dict[str, object] = {"environment": describe_environment(device)}
    for network in options.networks:
        overrides = NETWORKS[network]
        if options.batch_size:
            overrides = (*overrides[:2], f"batch_size={options.batch_size}")
        overrides += (f"device={options.device}",)
        images = configuration(options.root, overrides).batch_size
        names = ["bare", "bare_nhwc", "ssl_norm"]
        names += ["ssl_compiled"] * options.compile + ["lightly"] * (not options.without_lightly)
        rates = measure(names, options.root, overrides, images, options.rounds, options.steps)
        ours = rates["ssl_norm"]
        figures = {
            name: {
                "median": round(statistics.median(rate), 1),
                "min": round(min(rate), 1),
                "max": round(max(rate), 1),
                "ssl_norm_over_this": round(
                    statistics.median(a / b for a, b in zip(ours, rate, strict=True)), 3
                ),
            }
            for name, rate in rates.items()
        }
        results[network] = {"batch_size": images, "rounds": options.rounds, **figures}
        print(f"{network}, batch {images}, images/s (median, min, max), ssl_norm / this")
        for name, row in figures.items():
            print(
                f"  {name:12} {row['median']:9.1f} {row['min']:9.1f} {row['max']:9.1f} {row['ssl_norm_over_this']:8.3f}"
            )
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
