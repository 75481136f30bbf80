"""Settings of the tools that read checkpoints and runs, and of tools/toy.py."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import ValidationInfo

from ssl_norm.data.sources.folder_labels import LayoutName
from ssl_norm.launch import require_one_process
from ssl_norm.memory import FLOAT, Need
from ssl_norm.norms import NormSpec
from ssl_norm.options import Settings, Text, is_quick, option
from ssl_norm.settings.finetune import Corruption, UbnSettings
from ssl_norm.settings.method import check_groups, check_vectors
from ssl_norm.settings.sections import (
    MEAN_OR_SAVED,
    STD_OR_SAVED,
    CheckpointPath,
    Colour,
    Count,
    Device,
    EncoderOverride,
    NormChoice,
    NormOverride,
    PathText,
    RecordPath,
    Scales,
    Seed,
    Side,
    SourceName,
    White,
    unused_of_source,
)

CLASSES = {"two_moons": 2, "digits": 10}  # of each toy
DIGITS, RAREST_DIGIT = 1797, 174  # number of scans, and of those of the rarest digit
PICTURES = (".png", ".pdf", ".svg")


class KnnSettings(Settings):
    """Weighted k-nearest neighbours (Wu et al., arXiv 1805.01978)."""

    k: Count = option(200, "neighbours that vote")
    temperature: float = option(0.1, "temperature of the weights of votes", ge=1e-6, le=100)


class SgdProbeSettings(Settings):
    """Linear probe of the papers: SGD on frozen features with a cosine schedule."""

    lr: float = option(0.1, "initial learning rate", gt=0, le=10**4)
    epochs: Count = option(100, "passes over the features", unit="epochs")
    batch_size: Count = option(256, "features per step")
    momentum: float = option(0.9, "momentum of SGD", ge=0, lt=1)
    weight_decay: float = option(0.0, "L2 factor", ge=0, le=1e3)


class DataOverride(Settings):
    """Data keys that override those of a checkpoint; null: as in the checkpoint."""

    name: SourceName | None = option(None, "source of the images: a name, or module:function")
    root: PathText | None = option(None, "folder that holds the files")
    download: bool | None = option(None, "cifar10, stl10: download missing files")
    image_size: Side | None = option(None, "side of an image", unit="pixels")
    layout: LayoutName | None = option(None, "folder: meaning of its sub-folders")
    white: White | None = option(None, "folder: white in images of more than 8 bits")
    max_pixels: int | None = option(
        None, "folder: largest image that is decoded", unit="pixels", ge=64, le=10**10
    )
    cache_size: Side | None = option(None, "side of a cached image", unit="pixels")
    cache_dir: PathText | None = option(None, "folder of decoded images")
    on_corrupt: Literal["stop", "skip"] | None = option(
        None, "action for a file that cannot be decoded"
    )
    workers: int | None = option(None, "processes that decode files", ge=0, le=1024)
    test_fraction: float | None = option(
        None, "share held out for evaluation if the source has no test split", gt=0, lt=1
    )

    def unused(self) -> Mapping[str, str]:
        """Return the keys of sources other than the given one."""
        return {} if self.name is None else unused_of_source(self.name)


class PixelOverride(Settings):
    """Normalization of pixels; null: as in the checkpoint, else ImageNet's."""

    mean: Colour | None = MEAN_OR_SAVED
    std: Scales | None = STD_OR_SAVED


class CheckpointSettings(Settings):
    """Settings of all tools that read a checkpoint; null: as in the checkpoint."""

    checkpoint: PathText = option(..., "a file of weights, or a run folder (its last.pt)")
    data: DataOverride = option(DataOverride, "the images")
    encoder: EncoderOverride = option(EncoderOverride, "the network")
    norm: NormOverride = option(NormOverride, "the norm")
    augment: PixelOverride = option(PixelOverride, "the normalization of pixels")
    batch_size: Count = option(256, "images per forward pass", unit="images")
    seed: Seed = option(0, "seed of subsets, views and random initialization")
    device: Device = option("auto", "auto | cpu | cuda | cuda:1 | mps")

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        require_one_process("this tool")
        yield from super()._faults(info)


class ProbeSettings(CheckpointSettings):
    """Settings of all tools that score a checkpoint on labelled images."""

    protocol: Literal["logistic", "sgd"] = option("logistic", "linear classifier")
    labels: float = option(
        1.0, "fraction of each class's training labels, drawn by the seed", gt=0, le=1
    )
    knn: KnnSettings = option(KnnSettings, "k-nearest neighbours")
    sgd: SgdProbeSettings = option(SgdProbeSettings, "protocol=sgd", only_with="protocol=sgd")


class LinearEvalSettings(ProbeSettings):
    """Evaluate the frozen encoder of a checkpoint: linear probe, k nearest neighbours.

    python tools/linear_eval.py checkpoint=runs/x/last.pt     on the data it was trained on
    python tools/linear_eval.py checkpoint=runs/x data=cifar10 data.root=... labels=0.1
    python tools/linear_eval.py checkpoint=runs/x kept=true
                                 accuracy over the run, for tools/report.py
    """

    network: Literal["online", "target"] = option(
        "online", "network to evaluate; target: the moving average, for BYOL and MoCo"
    )
    kept: bool = option(
        False, "evaluate every checkpoint that keep_every kept, for the accuracy over the steps"
    )
    random_init: bool = option(True, "evaluate the same encoder at random initialization as well")
    output: PathText | None = option(
        None, "file of scores; null: linear_eval[_steps][_target].json next to the checkpoint"
    )


class PopulationStatsSettings(ProbeSettings):
    """Recompute batch statistics (PreciseBN) and compare them with the moving averages.

    python tools/population_stats.py checkpoint=runs/x        on the images it was trained on
    python tools/population_stats.py checkpoint=runs/x data=folder data.root=~/photos
                                 on other images
    """

    views: Literal["train", "plain"] | None = option(
        None, "train: augmented as in training; null: train for a run, plain for a file of weights"
    )
    samples: int = option(
        10_000,
        "images for the statistics, in whole batches; each at most once if views=plain",
        unit="images",
        ge=2,
        le=10**9,
    )
    batch_size: int = option(256, "images per forward pass", unit="images", ge=2, le=10**6)
    corruption: Corruption | None = option(
        None, "corruption of all images, for classifiers: {name: contrast, severity: 3}"
    )
    output: CheckpointPath | None = option(
        None, "checkpoint to write; null: <name>_exact.pt next to the old one"
    )


class DiagnoseSettings(CheckpointSettings):
    """Find out whether a checkpoint has collapsed, and at which layer the collapse begins.

    python tools/diagnose.py checkpoint=runs/x                on the data it was trained on
    python tools/diagnose.py checkpoint=any.pt encoder.name=resnet50 data=folder data.root=~/photos
                                 weights of timm, torchvision, lightly, MoCo, ...
    """

    samples: int = option(2000, "largest number of images", unit="images", ge=2, le=10**7)
    views: int = option(
        2, "augmented views per image; the positive cosine uses two, LiDAR uses all", ge=2, le=1000
    )
    batch_size: int = option(256, "images per forward pass", unit="images", ge=2, le=10**6)
    random_init: bool = option(True, "measure the same network at random initialization as well")
    output: RecordPath | None = option(
        None, "file of results; null: diagnosis.json in a run folder, else <file>_diagnosis.json"
    )


class ReportSettings(Settings):
    """Write one page of tables and figures of many runs, with mean and deviation over seeds.

    python tools/report.py runs=multirun/2026-11-22_10-00-00  all runs of a sweep
    python tools/report.py runs=[runs/a,runs/b] output=comparison             several folders
    python tools/report.py runs=runs/*byol* group_by=norm.projector           chosen groups
    """

    runs: Text | list[str] = option(
        ..., "folder, pattern, or [several of these]; all runs in and below them are read"
    )
    output: PathText | None = option(
        None,
        "folder to write; null: report/ in the folder of the runs, or in the current one for several",
    )
    title: Text | None = option(
        None, "title of the page; null: the study's name, else that of the folder of the runs"
    )
    group_by: str | list[str] | None = option(
        None,
        "key or [keys] by which runs form groups; null: a study's arm, else all differing settings",
    )
    figures: str | list[str] | None = option(
        None, "name or module:function of a figure, or [several]; null: all; studies add their own"
    )

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        for key, kind in (("runs", "a folder"), ("group_by", "a key, such as norm.projector")):
            value = getattr(self, key)
            texts = value if isinstance(value, list) else [value]
            if value is not None and not (texts and all(text.strip() for text in texts)):
                yield (f"{key}={value}: {kind} expected, or several in [ ]")


class ToySettings(Settings):
    """Compare bn and ubn at few labels on a toy problem: accuracy, batch dependence, shift.

    python tools/toy.py                  draws toy.png and toy_gap.png, prints tables over ten seeds
    python tools/toy.py toy=digits seeds=3 draws=10 output=digits.png
                                 small images instead of points
    python tools/toy.py labels_per_class=1 noise=0.3 ubn.gradient=false
                                 fewer labels; no gradient through the statistics
    python tools/toy.py control=gn seeds=40 seed=100 output=other.pdf
                                 another control, other seeds
    """

    toy: Literal["two_moons", "digits"] = option(
        "two_moons", "problem: points in the plane, or scikit-learn's digits of 8 x 8 pixels"
    )
    labels_per_class: Count = option(
        4, "labelled samples of each class; together they are the batch of every step"
    )
    gap_labels: tuple[Count, ...] = option(
        (1, 2, 4, 8), "further numbers of labels per class, for the figure of the gap"
    )
    unlabelled: int = option(
        500, "samples without a label, on which accuracy is measured", ge=2, le=10**7
    )
    noise: float = option(
        0.1,
        "standard deviation of the points around their moons of radius 1",
        only_with="toy=two_moons",
        ge=0,
        le=100,
    )
    ubn: UbnSettings = option(UbnSettings, "statistics of ubn")
    control: NormChoice = option(
        NormSpec("none"), "a norm without batch statistics, to compare with bn and ubn"
    )
    hidden_dim: int = option(64, "width of the hidden layers", unit="channels", ge=1, le=10**5)
    layers: int = option(
        3,
        "linear layers (for images convolutions and a last linear layer); norm and ReLU follow each "
        "but the last",
        ge=2,
        le=100,
    )
    steps: int = option(100, "steps of training, each on all labelled samples", ge=1, le=10**7)
    lr: float = option(0.01, "learning rate of Adam", gt=0, le=1e3)
    draws: Annotated[int, Interval(ge=2, le=10**6)] = option(
        50, "draws of batch statistics, to measure how much predictions depend on the batch"
    )
    seed: int = option(
        0, "first seed, that of the figures: samples, weights and joint batches", ge=0, le=2**31
    )
    seeds: int = option(10, "number of seeds in the tables, from `seed` on", ge=1, le=10**5)
    output: PathText = option(
        "toy.png", "file of the figure, .png, .pdf or .svg; that of the gap is toy_gap.png"
    )

    @property
    def label_counts(self) -> tuple[int, ...]:
        """All numbers of labels per class, ascending."""
        return tuple(sorted({self.labels_per_class, *self.gap_labels}))

    @property
    def unlabelled_per_step(self) -> int:
        """Unlabelled samples in the joint batch of a step."""
        return round(self.ubn.ratio * CLASSES[self.toy] * self.labels_per_class)

    def memory_needs(self) -> Iterator[Need]:
        """Yield weights with their gradients and moments, and outputs of the hidden layers."""
        width, layers = self.hidden_dim, self.layers
        yield f"hidden_dim={width} in layers={layers}", 4 * FLOAT * width * width * (layers - 2)
        for key, points in (
            ("labels_per_class", CLASSES[self.toy] * self.labels_per_class),
            ("unlabelled", self.unlabelled),
        ):
            what = f"{key}={getattr(self, key)} at hidden_dim={width}"
            yield what, points * (width * 2 * FLOAT + 48)

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        joint, labelled = self.unlabelled_per_step, CLASSES[self.toy] * self.labels_per_class
        if joint < 1 or joint > self.unlabelled:
            yield (
                f"ubn.ratio={self.ubn.ratio:g} with {labelled} labelled samples needs {joint} "
                f"unlabelled samples per step, and unlabelled={self.unlabelled}; use a ratio from "
                f"{1 / labelled:.3g} to {self.unlabelled / labelled:.3g}"
            )
        most = self.label_counts[-1]
        if self.toy == "digits" and (most > RAREST_DIGIT or 10 * most + self.unlabelled > DIGITS):
            yield (
                f"{most} labels a class and unlabelled={self.unlabelled}: toy=digits has {DIGITS:,} "
                f"scans, {RAREST_DIGIT} of one digit; use fewer, or smaller gap_labels"
            )
        if Path(self.output).suffix.lower() not in PICTURES:
            yield (f"output={self.output}: a file name that ends in {', '.join(PICTURES)} expected")
        if not is_quick(info):
            check_vectors("control", self.control)
            check_groups("control", self.control, "hidden_dim", self.hidden_dim)
            if self.control.batch_statistics:
                yield (
                    f"control={self.control} has batch statistics, as bn and ubn have; "
                    "use a norm without them, such as none, ln or gn"
                )
