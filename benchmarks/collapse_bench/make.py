"""Make the traces of CollapseBench.

    python -m benchmarks.collapse_bench.make FOLDER_OF_CIFAR10/train --output traces

Each run of `runs()` is trained to its end and written to one CSV file; existing files are kept.
"""

import argparse
import copy
import csv
import gzip
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.collapse_bench.objectives import OBJECTIVES, OF_TOKENS, Step
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import mlp_head
from ssl_norm.monitors import effective_rank, feature_std, positive_negative_cosine, rank_me
from ssl_norm.monitors.normalized import directions
from ssl_norm.train.environment import describe_environment

BATCH, WIDTH, WINDOW, SPECTRUM_EVERY, PROBES = 64, 64, 1024, 20, 20
LACKING: dict[str, tuple[str, ...]] = {
    "byol": ("", "norms", "predictor", "ema"),
    "alignment": ("", "norms"),
    "simsiam": ("", "stop_gradient", "predictor"),
    "simclr": ("", "negatives", "width"),
    "vicreg": ("", "variance", "covariance", "variance+covariance"),
    "supervised": ("", "labels"),
    "moco": ("", "negatives", "width"),
    "barlow": ("", "standardization", "redundancy"),
    "wmse": ("", "whitening"),
    "dino": ("", "centring", "sharpening", "centring+sharpening"),
    "lejepa": ("", "regularizer"),
    "jepa": ("", "stop_gradient", "ema"),
    "data2vec": ("", "stop_gradient", "ema", "normalization"),
}
COLUMNS = (
    "step", "positive_cosine", "negative_cosine", "feature_std", "raw_std", "loss",
    "effective_rank", "rank_me", "dimensions", "probe",
)  # fmt: skip


# Data, encoder, rate relative to the base, seed, steps, and objectives; (): all without tokens.
GROUPS: tuple[tuple[str, str, float, int, int, tuple[str, ...]], ...] = (
    ("digits", "mlp", 1.0, 0, 1000, ()),
    ("digits", "mlp", 0.1, 0, 1500, ()),
    ("cancer", "mlp", 1.0, 0, 1000, ()),
    ("digits", "mlp", 10.0, 1, 600, ()),
    ("cifar10", "tiny", 1.0, 0, 400, ()),
    ("digits", "vit", 1.0, 0, 800, ("simsiam", "dino", "jepa")),
    ("digits", "mlp", 0.3, 3, 1000, ("barlow", "vicreg", "wmse")),
    ("digits", "vit", 0.3, 3, 1000, ("jepa",)),
    ("digits", "mlp", 3.0, 3, 1000, ("barlow", "vicreg", "wmse")),
    ("digits", "vit", 3.0, 3, 1000, ("jepa",)),
    ("digits", "mlp", 1.0, 4, 1000, ("moco", "barlow", "wmse", "dino", "lejepa")),
    ("digits", "mlp", 1.0, 5, 1000, ("moco", "barlow", "wmse", "dino", "lejepa")),
    ("cifar10", "resnet18", 1.0, 0, 120, ("byol", "vicreg", "moco", "dino")),
    (
        "digits",
        "vit",
        1.0,
        0,
        800,
        ("data2vec", "byol", "simclr", "vicreg", "barlow", "moco", "lejepa"),
    ),
    ("digits", "vit", 0.3, 3, 1000, ("data2vec",)),
    ("digits", "vit", 3.0, 3, 1000, ("data2vec",)),
    ("digits", "vit", 1.0, 6, 800, ("jepa", "data2vec")),
    ("digits", "vit", 1.0, 7, 800, ("jepa", "data2vec")),
)
# Forms without a predictor, regularizer, ... whose collapse takes thousands of steps.
SLOW = ("byol-predictor", "vicreg-variance", "vicreg-variance+covariance", "supervised-labels",
        "moco-negatives", "barlow-standardization", "lejepa-regularizer",
        "dino-centring")  # fmt: skip
LONG = 5000  # steps of slow forms of the first three groups
RECOVERING = ("byol-predictor", "vicreg-variance", "lejepa-regularizer",
              "simsiam-stop_gradient", "moco-negatives")  # fmt: skip


def runs() -> Iterator[dict[str, Any]]:
    """Yield the settings of all runs; those of `RECOVERING` regain the missing part at step 500."""
    for number, (data, encoder, rate, seed, steps, objectives) in enumerate(GROUPS):
        for objective in objectives or [name for name in LACKING if name not in OF_TOKENS]:
            for without in LACKING[objective]:
                is_long = number < 3 and f"{objective}-{without}" in SLOW
                yield {
                    "objective": objective, "without": without, "data": data,
                    "encoder": encoder, "rate": rate, "seed": seed,
                    "steps": LONG if is_long else steps,
                    "recovers_at": None,
                }  # fmt: skip
    for name in RECOVERING:
        objective, _, without = name.partition("-")
        yield {
            "objective": objective, "without": without, "data": "digits", "encoder": "mlp",
            "rate": 1.0, "seed": 2, "steps": 1500, "recovers_at": 500,
        }  # fmt: skip


def name_of(run: dict[str, Any]) -> str:
    """Return the name of a run's file."""
    without = f"-{run['without']}" if run["without"] else ""
    back = f"-back{run['recovers_at']}" if run["recovers_at"] else ""
    place = f"{run['data']}_{run['encoder']}_lr{run['rate']:g}_seed{run['seed']}"
    return f"{run['objective']}{without}{back}_{place}"


def load(data: str, cifar10: Path | None) -> tuple[Tensor, Tensor]:
    """Return inputs (M, ...) and labels (M,)."""
    from sklearn import datasets

    if data == "digits":
        x, y = datasets.load_digits(return_X_y=True)
        return torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(y)
    if data == "cancer":
        x, y = datasets.load_breast_cancer(return_X_y=True)
        x = (x - x.mean(0)) / x.std(0)
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    assert cifar10 is not None, "the folder of CIFAR-10's training images is needed"
    from PIL import Image

    images, labels = [], []
    for label, folder in enumerate(sorted(path for path in cifar10.iterdir() if path.is_dir())):
        for path in sorted(folder.iterdir())[:200]:
            images.append(np.asarray(Image.open(path).convert("RGB").resize((16, 16))))
            labels.append(label)
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 255, torch.tensor(labels)


def view(x: Tensor) -> Tensor:
    """Return a random view of each sample."""
    n = len(x)
    if x.ndim == 2:  # a table: noise, and a fifth of the values left out
        return (x + 0.3 * torch.randn_like(x)) * (torch.rand_like(x) > 0.2)
    size = torch.empty(n).uniform_(0.5, 1).sqrt()
    place = torch.zeros(n, 2, 3)
    place[:, 0, 0] = size * (((torch.rand(n) < 0.5) * 2 - 1) if x.shape[1] == 3 else 1)
    place[:, 1, 1] = size
    place[:, :, 2] = (1 - size)[:, None] * torch.empty(n, 2).uniform_(-1, 1)
    grid = F.affine_grid(place, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    gain = torch.empty(n, x.shape[1], 1, 1).uniform_(0.7, 1.3)
    return (x * gain - 0.45) / 0.25 + 0.1 * torch.randn_like(x)


class ViT(nn.Module):
    """Vision transformer of 2 blocks, width 64 and 2 x 2 patches, to tokens or to their mean."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        self.tokens, self.pooled = 16, pooled
        self.patches = nn.Conv2d(1, WIDTH, 2, 2)
        self.place = nn.Parameter(0.02 * torch.randn(16, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 128, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean of tokens (N, 64), or the tokens (N, 16, 64)."""
        tokens = self.patches(x).flatten(2).mT
        if mask is not None:
            tokens = tokens.masked_fill(mask[..., None], 0.0)
        tokens = self.blocks(tokens + self.place)
        return tokens.mean(1) if self.pooled else tokens


def encoder_of(run: dict[str, Any], inputs: int) -> tuple[nn.Module, int]:
    """Return an encoder and the width of its features."""
    if run["encoder"] == "mlp":
        layers = [nn.Flatten(), nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
        return nn.Sequential(*layers), 256
    if run["encoder"] == "vit":
        return ViT(run["objective"] not in OF_TOKENS), WIDTH
    network = build_encoder(run["encoder"], small_images=True, image_size=16)
    return network, int(network.num_features)


class Ridge:
    """Ridge regression on the features of 1,000 samples; it is tested on their second half."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        order = torch.randperm(len(x))[:1000]
        self.x = x[order] if x.ndim == 2 else (x[order] - 0.45) / 0.25
        self.y = y[order]

    @torch.no_grad()
    def __call__(self, encoder: nn.Module) -> float:
        """Return the accuracy in [0, 1]."""
        encoder.eval()
        z = encoder(self.x).double()
        encoder.train()
        z = z.mean(1) if z.ndim == 3 else z
        half = len(z) // 2
        mean, std = z[:half].mean(0), z[:half].std(0) + 1e-6
        z = torch.cat([(z - mean) / std, torch.ones(len(z), 1)], 1)
        goal = F.one_hot(self.y[:half]).double()
        gram = z[:half].T @ z[:half] + half * 0.01 * torch.eye(z.shape[1])
        weights = torch.linalg.solve(gram, z[:half].T @ goal)
        return float(((z[half:] @ weights).argmax(1) == self.y[half:]).double().mean())


def train(run: dict[str, Any], cifar10: Path | None) -> list[dict[str, float]]:
    """Return the rows of a run."""
    torch.manual_seed(run["seed"])
    x, y = load(run["data"], cifar10)
    encoder, features = encoder_of(run, x[0].numel())
    without = frozenset(filter(None, run["without"].split("+")))
    norm = "none" if "norms" in without else "bn"
    classes = int(y.max()) + 1
    hidden = 2 if "width" in without else 128
    outputs = {"wmse": 16}.get(run["objective"], WIDTH)
    if run["objective"] in OF_TOKENS:
        online: nn.Module = encoder
        predictor: nn.Module = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
    else:
        head = mlp_head(features, hidden_dim=hidden, output_dim=outputs, layers=2, norm=norm)
        online = nn.Sequential(encoder, head)
        predictor = mlp_head(outputs, hidden_dim=32, output_dim=outputs, layers=2, norm=norm)
    if run["objective"] == "supervised":
        predictor = nn.Linear(outputs, classes)
    target = copy.deepcopy(online).requires_grad_(False)
    momentum = 0.0 if "ema" in without else 0.99
    decay = 1e-4
    optimizer = torch.optim.SGD(
        [*online.parameters(), *predictor.parameters()],
        lr=0.05 * run["rate"], momentum=0.9, weight_decay=decay,
    )  # fmt: skip
    probe, recent, rows, state = Ridge(x, y), [], [], {}
    every = max(1, run["steps"] // PROBES)
    for number in range(1, run["steps"] + 1):
        chosen = torch.randint(len(x), (BATCH,))
        is_back = run["recovers_at"] is not None and number >= run["recovers_at"]
        lacks = frozenset() if is_back else without
        step = Step(
            view(x[chosen]), view(x[chosen]), y[chosen], online, target, predictor, lacks, state
        )
        loss, (a, b) = OBJECTIVES[run["objective"]](step)
        if not torch.isfinite(loss):
            break
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(online.parameters(), 10.0)
        rows.append(measure(number, loss, a.detach(), b.detach(), recent))
        optimizer.step()
        with torch.no_grad():
            for mean, now in zip(target.parameters(), online.parameters(), strict=True):
                mean.lerp_(now, 1 - momentum)
        if number == 1 or number % every == 0:
            rows[-1]["probe"] = probe(encoder)
    return rows


@torch.no_grad()
def measure(
    number: int, loss: Tensor, a: Tensor, b: Tensor, recent: list[Tensor]
) -> dict[str, float]:
    """Return the row of a step."""
    positive, negative = positive_negative_cosine(a, b)
    row = {
        "step": number, "positive_cosine": positive, "negative_cosine": negative,
        "feature_std": feature_std(a), "raw_std": a.std(0).mean(), "loss": loss.detach(),
    }  # fmt: skip
    recent.append(a)
    del recent[: -WINDOW // BATCH]
    if number % SPECTRUM_EVERY == 1:
        z = directions(torch.cat(recent))
        row |= {
            "effective_rank": effective_rank(z),
            "rank_me": rank_me(z),
            "dimensions": min(z.shape),
        }
    return {name: float(value) for name, value in row.items()}


def write(path: Path, run: dict[str, Any], rows: list[dict[str, float]], commit: str) -> None:
    """Write a trace: a line of JSON after `# `, then CSV; five significant digits."""
    text = io.StringIO()
    header = run | {
        "name": path.name.removesuffix(".csv.gz"),
        "width": 16 if run["objective"] == "wmse" else WIDTH,
        "batch_size": BATCH,
        "window": WINDOW,
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.05 * run["rate"],
        "commit": commit,
    }
    text.write(f"# {json.dumps(header)}\n")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for row in rows:
        table.writerow([f"{row[c]:.5g}" if c in row else "" for c in COLUMNS])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main() -> None:
    """Train all runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cifar10", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "traces")
    parser.add_argument("--part", default="0/1", help="this process's share of the runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = map(int, options.part.split("/"))
    options.output.mkdir(parents=True, exist_ok=True)
    commit = describe_environment(torch.device("cpu"))["commit"]
    wanted = list(runs())
    for number, run in enumerate(wanted):
        path = options.output / f"{name_of(run)}.csv.gz"
        if number % parts != part or path.exists():
            continue
        start = time.perf_counter()
        rows = train(run, options.cifar10)
        write(path, run, rows, commit)
        last = rows[-1]
        print(
            f"{number + 1}/{len(wanted)} {path.name}: {len(rows)} steps in "
            f"{time.perf_counter() - start:.0f} s, negative cosine {last['negative_cosine']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
