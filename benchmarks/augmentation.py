"""Views per second of ssl_norm's augmentation, kornia's and torchvision's, at the same parameters.

    python benchmarks/augmentation.py --output results/augmentation.json

Four contestants make both views of the same uint8 images in one process, in alternating rounds:

    ssl_norm       whole batches, colour as one matrix per image (the default)
    exact_colour   whole batches, each colour change in turn (augment.exact_colour=true)
    kornia         whole batches, its AugmentationSequential on the same device
    torchvision    transforms.v2, image by image on the CPU, as each worker of a DataLoader does

As in the cache, the side of images is 32 px for views of 32 px, and otherwise 8/7 of the view.
--images measures the mean absolute difference between the two forms of colour jitter on files.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from kornia import augmentation as kornia
from torch import Generator, Tensor, nn
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from ssl_norm.data.augment.colour import ExactColour, FusedColour
from ssl_norm.data.augment.filters import blur_kernel_size
from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.transform import Share
from ssl_norm.data.augment.views import Views
from ssl_norm.settings.compose import choices, compose_settings
from ssl_norm.settings.pretrain import AugmentSettings
from ssl_norm.train.environment import describe_environment

BATCH = {32: 128, 96: 64, 224: 32}
PER_IMAGE = 4  # torchvision gets a quarter of the batch
Make = Callable[[Tensor], object]


def load_preset(name: str) -> AugmentSettings:
    """Return the augmentation of `augment=<name>`."""
    preset: AugmentSettings = compose_settings("pretrain", f"augment={name}").augment
    return preset


def ours(preset: AugmentSettings, size: int, exact_colour: bool) -> Make:
    """Return the package's own augmentation."""
    parameters = {"view1": preset.view1, "view2": preset.view2}
    views = Views(parameters, size, preset.mean, preset.std, exact_colour=exact_colour)
    generator = Generator().manual_seed(0)
    return lambda images: views(images, generator)


def kornias(preset: AugmentSettings, size: int, device: torch.device) -> Make:
    """Return the augmentation with kornia's operations."""

    def sequence(view: ViewParameters) -> nn.Module:
        kernel, threshold = blur_kernel_size(size), view.solarize_threshold
        jitter = (view.brightness, view.contrast, view.saturation, view.hue)
        operations = [
            kornia.RandomResizedCrop(
                (size, size), view.crop_area, view.crop_ratio, align_corners=False
            ),
            kornia.RandomHorizontalFlip(p=view.flip),
            kornia.ColorJitter(*jitter, p=view.jitter),
            kornia.RandomGrayscale(p=view.grey),
            kornia.RandomGaussianBlur((kernel, kernel), view.blur_sigma, p=view.blur),
            kornia.RandomSolarize((threshold, threshold), (0.0, 0.0), p=view.solarize),
            kornia.Normalize(torch.tensor(preset.mean), torch.tensor(preset.std)),
        ]
        used = [operation for operation in operations if operation.p > 0]
        return kornia.AugmentationSequential(*used, same_on_batch=False).to(device)

    sequences = [sequence(preset.view1), sequence(preset.view2)]

    def make(images: Tensor) -> object:
        pixels = images.float() / 255
        return [views(pixels) for views in sequences]

    return make


def torchvisions(preset: AugmentSettings, size: int) -> Make:
    """Return the augmentation with torchvision's transforms, image by image."""

    def sequence(view: ViewParameters) -> v2.Transform:
        kernel = blur_kernel_size(size)
        jitter = v2.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue)
        blur = v2.GaussianBlur(kernel, list(view.blur_sigma))
        operations = [
            v2.RandomResizedCrop(size, list(view.crop_area), list(view.crop_ratio)),
            v2.RandomHorizontalFlip(view.flip),
            v2.RandomApply([jitter], view.jitter),
            v2.RandomGrayscale(view.grey),
            *([v2.RandomApply([blur], view.blur)] if view.blur else []),
            *(
                [v2.RandomSolarize(255 * view.solarize_threshold, view.solarize)]
                if view.solarize
                else []
            ),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(preset.mean), list(preset.std)),
        ]
        return v2.Compose(operations)

    sequences = [sequence(preset.view1), sequence(preset.view2)]

    def make(images: Tensor) -> object:
        return [torch.stack([views(image) for image in images]) for views in sequences]

    return make


def views_per_second(make: Make, images: Tensor, least_seconds: float) -> float:
    """Return the rate of one round of at least `least_seconds`."""
    calls, start = 0, time.perf_counter()
    while True:
        make(images)
        calls += 1
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        if seconds >= least_seconds:
            return 2 * len(images) * calls / seconds


def compare(
    name: str, size: int, device: torch.device, rounds: int, seconds: float
) -> dict[str, object]:
    """Return medians over the rounds for one preset and size."""
    preset, side = load_preset(name), size if size <= 64 else round(size * 8 / 7)
    pixels = torch.randint(0, 256, (BATCH[size], 3, side, side), dtype=torch.uint8)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    few = pixels[: len(pixels) // PER_IMAGE].contiguous()
    contestants: dict[str, tuple[Make, Tensor]] = {
        "ssl_norm": (ours(preset, size, exact_colour=False), pixels.to(device)),
        "exact_colour": (ours(preset, size, exact_colour=True), pixels.to(device)),
        "kornia": (kornias(preset, size, device), pixels.to(device)),
        "torchvision": (torchvisions(preset, size), few),
    }
    for make, images in contestants.values():
        make(images)
    rates: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant, (make, images) in contestants.items():
            rates[contestant].append(views_per_second(make, images, seconds))
    row: dict[str, object] = {"preset": name, "size": size, "batch": len(pixels)}
    row |= {
        f"{contestant}_views_per_second": round(statistics.median(rate))
        for contestant, rate in rates.items()
    }
    for peer in ("exact_colour", "kornia", "torchvision"):
        ratios = [own / other for own, other in zip(rates["ssl_norm"], rates[peer], strict=True)]
        row[f"ratio_to_{peer}"] = round(statistics.median(ratios), 2)
    return row


def colour_difference(folder: Path, name: str) -> dict[str, object]:
    """Return the difference between fused and exact colour jitter, at 32 px."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"})
    picked = files[:: max(1, len(files) // 1024)][:1024]
    resize = v2.Resize((32, 32), antialias=True)
    images = (
        torch.stack([resize(decode_image(str(path), ImageReadMode.RGB)) for path in picked]) / 255
    )
    view = load_preset(name).view1.model_copy(update={"jitter": 1.0, "grey": 0.0})
    share = Share(len(images), slice(0, len(images)), 32, 32)
    fused, exact = (
        stage.apply(images.clone(), stage.draw(share, Generator().manual_seed(0)))
        for stage in (FusedColour(view), ExactColour(view))
    )
    return {
        "preset": name,
        "images": len(images),
        "mean_absolute_difference": round((fused - exact).abs().mean().item(), 4),
        "mean_absolute_effect_of_jitter": round((exact - images).abs().mean().item(), 4),
    }


def markdown(rows: list[dict[str, object]]) -> Iterator[str]:
    """Yield the lines of a table."""
    if rows:
        yield "| " + " | ".join(rows[0]) + " |"
        yield "|" + " --- |" * len(rows[0])
    for row in rows:
        yield "| " + " | ".join(str(value) for value in row.values()) + " |"


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    names = [name for name in choices("augment") if "_digits" not in name]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--presets",
        nargs="+",
        choices=names,
        default=names,
        metavar="PRESET",
        help=f"of {', '.join(names)}",
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        choices=sorted(BATCH),
        default=sorted(BATCH),
        help="sides of views in pixels",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="number of torch threads on the CPU",
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="alternating rounds; medians are reported"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="least duration of one contestant's turn"
    )
    parser.add_argument("--images", type=Path, help="folder of images for the colour difference")
    parser.add_argument("--output", type=Path, help="file to write: .json, or .md for a table")
    parser.add_argument(
        "--quick", action="store_true", help="two presets, one round, to test the script"
    )
    options = parser.parse_args()
    if options.quick:
        options.presets, options.rounds, options.seconds = ["byol", "byol_small"], 1, 0.0
    return options


def main() -> None:
    """Measure, print, and write the file of --output."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)

    report = {
        "environment": describe_environment(device),
        "device": str(device),
        "threads": options.threads,
        "rounds": options.rounds,
    }
    print(json.dumps(report, indent=2))
    rows = [
        compare(name, size, device, options.rounds, options.seconds)
        for size in options.sizes
        for name in options.presets
    ]
    differences = (
        [colour_difference(options.images, name) for name in options.presets]
        if options.images
        else []
    )
    tables = "\n".join([*markdown(rows), "", *markdown(differences)]).strip()
    print(tables)
    if options.output:
        is_json = options.output.suffix == ".json"
        result = {**report, "views_per_second": rows, "colour_difference": differences}
        header = f"```json\n{json.dumps(report, indent=2)}\n```\n\n"
        options.output.write_text(
            json.dumps(result, indent=2) if is_json else header + tables + "\n"
        )


if __name__ == "__main__":
    main()
