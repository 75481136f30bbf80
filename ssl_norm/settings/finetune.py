"""Settings of tools/finetune.py."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval
from pydantic import AfterValidator, ValidationInfo

from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.corruption.spec import CORRUPTIONS, parse_corruption
from ssl_norm.errors import UserError
from ssl_norm.launch import require_one_process
from ssl_norm.memory import FLOAT, Need
from ssl_norm.norms import NormSpec
from ssl_norm.options import Settings, check_object, is_quick, is_saved, option
from ssl_norm.settings.method import check_chunks
from ssl_norm.settings.pretrain import RunSettings
from ssl_norm.settings.sections import (
    EXACT_COLOUR,
    IMAGENET_MEAN,
    IMAGENET_STD,
    MEAN_OR_SAVED,
    STD_OR_SAVED,
    Colour,
    Count,
    DataSettings,
    EncoderOverride,
    NormChoice,
    OptimizerSettings,
    PathText,
    Scales,
    Steps,
    check_extra,
)
from ssl_norm.text import as_typed


def _check_corruption(spec: Any, info: ValidationInfo) -> Any:
    try:
        parsed = parse_corruption(spec)
    except UserError as error:  # pydantic adds the key to a ValueError
        raise ValueError(str(error)) from error
    if parsed is not None:
        check_object(CORRUPTIONS, parsed.name, info)
    return spec


Corruption = Annotated[Any, AfterValidator(_check_corruption)]
Images = Annotated[int, Interval(ge=2, le=10**9)]
Share = Annotated[float, Interval(gt=0, le=1)]
Statistics = Literal["population", "exact", "batch"]
WEAK_VIEW = ViewParameters(crop_area=(0.35, 1.0), jitter=0.0, grey=0.0, blur=0.0)


class FinetuneAugment(Settings):
    """The random view to train on, and the normalization of pixels that follows it."""

    view: ViewParameters = option(WEAK_VIEW, "the view")
    mean: Colour | None = MEAN_OR_SAVED
    std: Scales | None = STD_OR_SAVED
    exact_colour: bool = EXACT_COLOUR

    @property
    def normalization(self) -> tuple[Colour, Scales]:
        """Mean and deviation by which pixels are normalized; ImageNet's by default."""
        return self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD


class FinetuneNorm(Settings):
    """The encoder's norm: a name (`gn+ws`) or a mapping (`{name: gn, groups: 16}`)."""

    encoder: NormChoice | None = option(None, "null: as in the checkpoint, else bn")
    freeze_last: float = option(
        0.0, "share of the steps, at the end of the run, with frozen batch statistics", ge=0, le=1
    )


class FinetuneOptimizer(OptimizerSettings):
    """Optimizer and schedule; the effective rate is `lr * batch_size / 256`."""

    warmup_steps: int = option(
        0, "linear warm-up of the learning rate", unit="steps", ge=0, le=10**9
    )


class UbnSettings(Settings):
    """Statistics of norm.encoder=ubn (Kocyigit et al., CVPR Workshops 2020)."""

    ratio: float = option(
        4.0, "unlabelled images per labelled one in the joint batch", gt=0, le=10**6
    )
    gradient: bool = option(
        True, "backpropagate through the joint statistics; false: take them as constants, cheaper"
    )


class GroupingSettings(Settings):
    """Class-correlated batches, as they arise if each worker holds the images of a few classes."""

    chunk: Count | None = option(None, "images of a chunk; null: batches are drawn at random")
    classes: Count = option(1, "classes in a chunk")
    shuffle: bool = option(False, "shuffle the images of all chunks within the batch")

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        if self.chunk is None and (self.classes != 1 or self.shuffle):
            yield (
                "grouping.classes and grouping.shuffle concern chunks of a batch; "
                "add grouping.chunk=..., the images of a chunk"
            )
        if self.chunk is not None and self.chunk % self.classes:
            yield (
                f"grouping.classes={self.classes} does not divide grouping.chunk={self.chunk}; "
                "use a divisor"
            )


class ScoringSettings(Settings):
    """Scores of the test images; evaluations.csv has a row for each kind of statistics."""

    every: int = option(
        0, "interval of evaluations; 0: only at the end", unit="steps", resume=True, ge=0, le=10**9
    )
    statistics: tuple[Statistics, ...] = option(
        ("population", "exact", "batch"),
        "statistics with which batch norms normalize test images; one row for each",
    )
    limit: Steps | None = option(None, "size of a seeded subset of the test images; null: all")
    batch_size: int = option(
        256, "size of an evaluation batch, whose images share batch statistics", ge=2, le=10**6
    )
    samples: tuple[Images, ...] = option(
        (10_000,),
        "numbers of images for exact statistics; one row for each at the end, before that the first",
    )
    batch_sizes: tuple[Images, ...] = option(
        (256,),
        "batch sizes for exact statistics; one row for each at the end, before that the first",
    )
    train: bool = option(False, "score training images as well, as the training sees them")
    corruptions: list[Corruption] = option(
        list, "corruptions of the test images, e.g. [{name: contrast, severity: 5}]"
    )
    adapt_samples: tuple[Images, ...] = option(
        (10, 100, 1000),
        "numbers of corrupted training images on which statistics are re-estimated",
        only_with="corruptions",
    )
    uncertainty: Annotated[int, Interval(ge=0, le=10**5)] = option(
        0, "draws of batch statistics; above 0: score how well the deviation finds errors (AUROC)"
    )

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        for corruption in self.corruptions:
            if parse_corruption(corruption) is None:
                yield ("evaluation.corruptions: clean test images are always scored; leave it out")
        for key in ("statistics", "samples", "batch_sizes", "adapt_samples"):
            if not getattr(self, key):
                yield (f"evaluation.{key} is empty; give at least one value")
        if self.train and set(self.statistics) == {"exact"}:
            yield (
                "evaluation.train=true scores training views under population and batch "
                "statistics, and evaluation.statistics=[exact] names neither; add one"
            )
        if self.uncertainty == 1:
            yield "evaluation.uncertainty=1: a spread needs at least 2 draws"


class FinetuneSettings(RunSettings):
    """Train a classifier with few or all labels, from a checkpoint or from scratch.

    python tools/finetune.py labels_per_class=4               four labelled images per class
    python tools/finetune.py labels_per_class=4 norm.encoder=ubn
                                 ... with the statistics of all images
    python tools/finetune.py checkpoint=runs/x data=folder data.root=~/photos labels=0.1
    python tools/finetune.py -m study=ubn_few_labels data.root=...
                                 a study: all arms, all seeds
    """

    checkpoint: PathText | None = option(
        None, "encoder weights to start from, a run folder or a file; null: random initialization"
    )
    data: DataSettings = option(DataSettings, "the images")
    augment: FinetuneAugment = option(FinetuneAugment, "the view")
    encoder: EncoderOverride = option(EncoderOverride, "the network to train")
    norm: FinetuneNorm = option(FinetuneNorm, "the norm")
    optimizer: FinetuneOptimizer = option(FinetuneOptimizer, "the optimizer")
    ubn: UbnSettings = option(UbnSettings, "statistics of ubn")
    grouping: GroupingSettings = option(GroupingSettings, "class-correlated batches")
    evaluation: ScoringSettings = option(ScoringSettings, "scores of test images", resume=True)
    domains: list[Corruption] = option(
        list, "corruption of each equal chunk of a batch, e.g. [clean, {name: fog, severity: 5}]"
    )
    labels: Annotated[int, Interval(ge=1, le=10**9)] | Share = option(
        1.0, "number of labelled images, balanced over classes; up to 1.0: fraction of each class"
    )
    labels_per_class: Steps | None = option(
        None, "labelled images of each class, instead of labels"
    )
    steps: Steps = option(1000, "steps of the whole run", unit="steps")
    batch_size: Count = option(64, "labelled images per step", unit="images")
    checkpoint_every: Steps = option(
        200, "interval of the writes of last.pt", unit="steps", resume=True
    )
    log_every: Steps = option(20, "interval of the rows of metrics.csv", unit="steps", resume=True)

    def unused(self) -> Mapping[str, str]:
        """Return the settings of other norms, and of scores that this run does not compute."""
        found, norm = {}, self.norm.encoder
        if norm is None and self.checkpoint is None:
            norm = NormSpec("bn")
        if norm is not None and norm.name != "ubn":
            for key in UbnSettings.model_fields:
                found[f"ubn.{key}"] = f"it is for norm.encoder=ubn, and the norm is {norm}"
        if norm is not None and not norm.batch_statistics:
            for key in ("norm.freeze_last", "evaluation.statistics"):
                found[key] = f"the norm {norm} has no batch statistics"
        if "exact" not in self.evaluation.statistics:
            for key in ("samples", "batch_sizes"):
                found[f"evaluation.{key}"] = "evaluation.statistics has no `exact`"
        return found

    def memory_needs(self) -> Iterator[Need]:
        """Yield the images of a step."""
        side, norm = self.data.view_size, self.norm.encoder
        joint = norm is not None and norm.name == "ubn"
        images, ratio = self.batch_size, f" with ubn.ratio={self.ubn.ratio:g}" * joint
        count = images * (1 + self.ubn.ratio * joint)
        yield f"batch_size={images} of {side} px{ratio}", count * FLOAT * 3 * side**2

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        yield from super()._faults(info)
        if not is_saved(info):
            require_one_process("finetune")
            path = Path(self.checkpoint or ".").expanduser()
            if not path.exists():
                yield f"checkpoint={path}: there is no such file or run folder"
            if self.checkpoint and path.is_dir() and not (path / "last.pt").is_file():
                yield f"checkpoint={path}: a folder without last.pt; name a run or a file"
        yield from self._faults_of_counts()
        yield from self._faults_of_domains()
        if not is_quick(info):
            yield from self._faults_of_norm()
            if not is_saved(info):
                check_extra(self.data.view_size, view=self.augment.view)

    def _faults_of_counts(self) -> Iterator[str]:
        labels, warmup, chunk = self.labels, self.optimizer.warmup_steps, self.grouping.chunk
        if isinstance(labels, int) and labels == 1:
            yield (
                "labels=1: at least 2 images, or a fraction in (0, 1] such as 0.1 expected; "
                "all images: labels=1.0"
            )
        if self.labels_per_class is not None and labels != 1.0:
            yield (
                f"labels={labels} and labels_per_class={self.labels_per_class} both set the number "
                "of labelled images; give one of them"
            )
        if warmup > self.steps:
            yield (
                f"optimizer.warmup_steps={warmup} is longer than the run of steps={self.steps}; "
                "shorten it"
            )
        if chunk is not None and self.batch_size % chunk:
            yield (
                f"grouping.chunk={chunk} does not divide batch_size={self.batch_size}; "
                "use a divisor"
            )

    def _faults_of_domains(self) -> Iterator[str]:
        parsed = [parse_corruption(domain) for domain in self.domains]
        count = len(parsed)
        if len(set(parsed)) < count:
            yield (f"domains={as_typed(self.domains)}: one domain is named twice; leave it out")
        if count == 1:
            yield (
                f"domains={as_typed(self.domains)}: a mixture has at least two domains, such as "
                "domains=[clean,contrast]"
            )
        if count and self.batch_size % count:
            yield (
                f"batch_size={self.batch_size} is not {count} equal chunks, one for each of "
                f"domains={as_typed(self.domains)}; use a multiple of {count}"
            )
        counts = {
            f"evaluation.{k}": getattr(self.evaluation, k) for k in ("samples", "batch_sizes")
        }
        counts |= {"labels": [self.labels]} if isinstance(self.labels, int) else {}
        for key, images in counts.items():
            if min(images) < count:
                yield f"{key}={min(images)} is less than the {count} domains; use at least {count}"

    def _faults_of_norm(self) -> Iterator[str]:
        norm = self.norm.encoder
        if norm is not None:
            check_chunks("norm.encoder", norm, self.batch_size, 1)
            yield from self._faults_of_policies(norm)
        draws, norm = self.evaluation.uncertainty, norm or NormSpec("bn")
        if draws and not norm.batch_statistics:
            yield (
                f"evaluation.uncertainty={draws}: norm.encoder={norm} has no batch statistics to "
                "draw; use a batch norm"
            )
        if draws and self.norm.freeze_last:
            yield (
                f"evaluation.uncertainty={draws} with norm.freeze_last={self.norm.freeze_last}: "
                "frozen statistics cannot be drawn; leave one of them out"
            )

    def _faults_of_policies(self, norm: NormSpec) -> Iterator[str]:
        if norm.name == "ubn" and norm.options.get("batch_size") is not None:
            yield (f"norm.encoder={norm}: a joint batch has no ghost batches; leave batch_size out")
        if norm.name == "domain" and not self.domains:
            yield (
                f"norm.encoder={norm} has statistics for each domain, and domains=[] names none; "
                "add domains=[clean,contrast:5], or use norm.encoder=bn"
            )
        wanted = norm.option("domains")
        if wanted is not None and self.domains and wanted != len(self.domains):
            yield (
                f"norm.encoder={norm} has statistics for {wanted} domains, and "
                f"domains={as_typed(self.domains)} are {len(self.domains)}; "
                f"use domains: {len(self.domains)}"
            )
