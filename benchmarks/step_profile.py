"""Profile of a BYOL step of a run on the CPU, by torch.profiler.

    python benchmarks/step_profile.py --root data/cifar10 --traces profiles

Each network is trained as by tools/pretrain.py, with augmentation and monitors; after 10 steps,
some are profiled. Prints a row of a Markdown table for each network, and writes a trace of each for
chrome://tracing or https://ui.perfetto.dev.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pretrain_throughput import ssl_norm_path
from torch.profiler import ProfilerActivity, profile

from ssl_norm.settings.compose import compose_settings
from ssl_norm.train.device import pick_device

FILES = ("data=folder", "data.image_size=32", "augment=byol_small", "optimizer.lr=0.05")
# settings, and whether the images are files of --root; resnet10t has its ImageNet stem
NETWORKS: dict[str, tuple[tuple[str, ...], bool]] = {
    "default": ((), False),
    "resnet10t": (
        (*FILES, "encoder.name=resnet10t", "encoder.small_images=false", "batch_size=128"),
        True,
    ),
    "resnet18": (
        (*FILES, "encoder.name=resnet18", "encoder.small_images=true", "batch_size=64"),
        True,
    ),
    "vit_tiny": (
        (*FILES, "encoder.name=vit_tiny_patch16_224", "norm.encoder=ln", "batch_size=64"),
        True,
    ),
}
# Parts of the step, and how names of their operations begin after "aten::"; the first match counts.
PARTS = {
    "convolutions": ("mkldnn_convolution", "convolution", "_convolution"),
    "matrix products": ("mm", "bmm", "addmm", "baddbmm"),
    "attention": ("_scaled_dot_product",),
    "norms": ("native_batch_norm", "native_layer_norm"),
    "activations": ("relu", "clamp_min", "threshold", "gelu"),
    "sums and copies": ("add", "sum", "copy", "fill", "cat"),
    "optimizer and EMA": ("lerp", "_foreach", "Optimizer"),
}
WARM_UP, PROFILED = 10, 5


def shares(settings: tuple[str, ...], trace: Path) -> tuple[float, dict[str, float]]:
    """Return milliseconds of a step under the profiler and the share of each part; write a trace."""
    config = compose_settings("pretrain", "epochs=1000", *settings)
    device = pick_device(config.device)
    profiler = profile(activities=[ProfilerActivity.CPU])

    def turns() -> Iterator[None]:
        for step in range(WARM_UP + PROFILED + 1):
            if step == WARM_UP:
                profiler.start()
            if step == WARM_UP + PROFILED:
                profiler.stop()
            yield

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ssl_norm_path(config, device, Path(folder, "run"))(turns())
    profiler.export_chrome_trace(str(trace))
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        part = next((part for part, starts in PARTS.items() if name.startswith(starts)), "other")
        times[part] += event.self_cpu_time_total
    total = times.total()
    return total / 1000 / PROFILED, {part: times[part] / total for part in (*PARTS, "other")}


def main() -> None:
    """Profile each network and print its row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="CIFAR-10 as files: train/<class>/*.jpg")
    parser.add_argument("--traces", type=Path, default=Path("profiles"), help="folder for traces")
    options = parser.parse_args()
    options.traces.mkdir(parents=True, exist_ok=True)
    print("| network | step | " + " | ".join([*PARTS, "other"]) + " |")
    print("|---" * (len(PARTS) + 3) + "|")
    for name, (settings, on_files) in NETWORKS.items():
        root = (f"data.root='{options.root}'",) if on_files else ()
        trace = options.traces / f"{name}.json.gz"
        milliseconds, parts = shares((*settings, *root), trace)
        cells = [
            name,
            f"{milliseconds:.0f} ms",
            *(f"{100 * part:.0f} %" for part in parts.values()),
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
