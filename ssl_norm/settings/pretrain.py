"""Settings of tools/pretrain.py."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval
from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo

from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.launch import processes_of, read_launch, resumes_sweep
from ssl_norm.memory import FLOAT, Need
from ssl_norm.monitors.verdict import PATIENCE, Thresholds
from ssl_norm.norms import NormSpec
from ssl_norm.options import Settings, Text, is_quick, is_saved, option
from ssl_norm.settings.method import (
    HeadSettings,
    MethodSettings,
    check_chunks,
    check_head,
    norms_of_head,
    parse_method,
)
from ssl_norm.settings.sections import (
    EXACT_COLOUR,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Colour,
    Count,
    DataSettings,
    Device,
    EncoderSettings,
    LoggerName,
    NormChoice,
    OptimizerSettings,
    PathText,
    Precision,
    Scales,
    Seed,
    Steps,
    check_extra,
)
from ssl_norm.signature import options_model, options_of

# Settings that a check of the first steps does not read.
OF_WHOLE_RUNS = (
    *("run_dir", "loggers", "monitor", "linear_probe", "probe_labels", "checkpoint_every"),
    *("keep_every", "norm.freeze_last_epochs"),
)


class AugmentSettings(Settings):
    """The two views, and the normalization of their pixels."""

    view1: ViewParameters = option(ViewParameters, "first view")
    view2: ViewParameters = option(ViewParameters, "second view")
    mean: Colour = option(IMAGENET_MEAN, "mean of each colour, which is subtracted from pixels")
    std: Scales = option(IMAGENET_STD, "deviation of each colour, by which pixels are divided")
    exact_colour: bool = EXACT_COLOUR


class NormSettings(Settings):
    """A norm for each part: a name (`gn+ws`) or a mapping (`{name: gn, groups: 16}`)."""

    encoder: NormChoice = option(NormSpec("bn"), "norm of the encoder")
    projector: NormChoice = option(NormSpec("bn"), "norm of the projector's hidden layers")
    predictor: NormChoice = option(NormSpec("bn"), "norm of the predictor's hidden layers")
    view_statistics: Literal["separate", "joint"] = option(
        "separate", "joint: both views share batch statistics"
    )
    freeze_last_epochs: int = option(
        0,
        "number of epochs, at the end of the run, with frozen batch statistics",
        unit="epochs",
        only_with="train",
        ge=0,
        le=10**6,
    )


class PretrainOptimizer(OptimizerSettings):
    """Optimizer and schedule; the effective rate is `lr * batch_size * accumulate / 256`."""

    warmup_epochs: float = option(
        0.5, "linear warm-up of the learning rate", unit="epochs", ge=0, le=10**6
    )
    schedule_epochs: Count | None = option(
        None, "length of all schedules, including ema_schedule, in epochs; null: as `epochs`"
    )


if TYPE_CHECKING:
    _ThresholdSettings = Settings
else:
    _ThresholdSettings = options_model(Thresholds)


class MonitorSettings(_ThresholdSettings):
    """Collapse monitors, and the verdict, whose thresholds results/verdict.md measures."""

    log_every: Steps = option(10, "interval of the rows of metrics.csv", unit="steps")
    spectral_every: Steps = option(
        20, "interval of the measurements of rank and spectrum", unit="steps"
    )
    buffer_size: int = option(
        1024, "latest embeddings whose spectrum is measured", unit="rows", ge=2, le=10**6
    )
    layers_every: int = option(
        50,
        "interval of the measurements of all layers, also made at steps 1, 2, 4, 8, ...; 0: never",
        unit="steps",
        ge=0,
        le=10**9,
    )
    on_collapse: Literal["warn", "stop", "rollback", "ignore"] = option(
        "warn", "action at collapse; rollback: stop with the last healthy checkpoint as last.pt"
    )
    patience: Steps = option(
        PATIENCE,
        "steps in a row that must agree on another verdict before it changes",
        unit="steps",
    )
    embeddings: Annotated[int, Interval(ge=0, le=10**6)] = option(
        0, "images whose embeddings TensorBoard's projector shows at the end", unit="images"
    )

    @property
    def thresholds(self) -> Thresholds:
        """Values of the monitors at which the verdict changes."""
        return Thresholds(**self.model_dump(include=set(options_of(Thresholds))))

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        assert self.thresholds  # raises ValueError unless they are in order
        yield from super()._faults(info)


class RunSettings(Settings):
    """Settings of both training tools."""

    study: str | None = option(None, "name of a file in configs/study/")
    arm: str | None = option(None, "arm of the study; -m without arm=... runs all of them")
    seed: Seed = option(0, "seed of weights, order of images, views and subsets")
    device: Device = option("auto", "auto | cpu | cuda | cuda:1 | mps", resume=True)
    precision: Precision = option("auto", "auto: bfloat16 on GPUs that support it")
    channels_last: bool = option(True, "memory format NHWC, in which convolutions are faster")
    loggers: tuple[LoggerName, ...] = option(
        ("tensorboard",), "loggers of rows and figures, in addition to CSV files", resume=True
    )
    run_dir: PathText | None = option(None, "run folder", resume=True)
    resume: bool = option(
        False,
        "continue the run in run_dir; settings that are not given are those of the run",
        resume=True,
    )

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        missing = self.resume and self.run_dir is None and not is_saved(info)
        if missing and not resumes_sweep():
            yield (
                "resume=true needs run_dir=..., the folder of the run to continue; "
                "with -m, hydra.sweep.dir=..., the folder of the sweep"
            )


class PretrainSettings(RunSettings):
    """Pretrain an encoder without labels, watch it for collapse, and end with a linear probe.

    python tools/pretrain.py                                  BYOL on a data set of the package
    python tools/pretrain.py data=folder data.root=~/photos   your own images
    python tools/pretrain.py norm.projector=none norm.predictor=none          see it collapse
    python tools/pretrain.py -m norm.projector=bn,ln,none seed=0,1,2          a sweep
    python tools/pretrain.py -m study=byol_collapse data.root=...
                                 a study: all arms, all seeds (or arm=none seed=0)
    torchrun --nproc-per-node 8 tools/pretrain.py ...         one run on many GPUs
    """

    method: Annotated[SerializeAsAny[MethodSettings], BeforeValidator(parse_method)] = option(
        ..., "the learner"
    )
    data: DataSettings = option(DataSettings, "the images")
    augment: AugmentSettings = option(AugmentSettings, "the two views")
    encoder: EncoderSettings = option(EncoderSettings, "the network to train")
    norm: NormSettings = option(NormSettings, "the norms")
    optimizer: PretrainOptimizer = option(PretrainOptimizer, "the optimizer", only_with="train")
    monitor: MonitorSettings = option(MonitorSettings, "collapse monitors", resume=True)
    train: bool = option(True, "false: measure and evaluate the network at its initialization")
    epochs: Count = option(20, "passes over the training images", unit="epochs", only_with="train")
    batch_size: Count = option(128, "images per step over all ranks", unit="images")
    accumulate: Count = option(1, "batches per optimizer step", unit="batches")
    compile: bool = option(
        False,
        "compile the encoders by torch.compile; the first step then takes a minute or more",
        resume=True,
        only_with="train",
    )
    checkpoint_every: Count = option(
        1, "interval of the writes of last.pt", unit="epochs", resume=True, only_with="train"
    )
    keep_every: Count | None = option(
        None,
        "interval of checkpoints kept as step_*.pt",
        unit="epochs",
        resume=True,
        only_with="train",
    )
    linear_probe: bool = option(True, "end with a linear probe if the data has labels", resume=True)
    probe_labels: float = option(
        1.0,
        "fraction of each class's training labels, drawn by the seed, for the linear probe",
        resume=True,
        only_with="linear_probe",
        gt=0,
        le=1,
    )

    @property
    def heads(self) -> dict[str, HeadSettings]:
        """The heads of the learner by name."""
        return {name: head for name, head in self.method if isinstance(head, HeadSettings)}

    def norm_of(self, part: str) -> NormSpec:
        """Return the norm of a head; `none` if `norm` has no key for the head."""
        norm: NormSpec = getattr(self.norm, part, NormSpec("none"))
        return norm

    @property
    def norms(self) -> dict[str, NormSpec]:
        """Every norm under its key: those of the three parts, and of the outputs of heads."""
        specs = {f"norm.{p}": getattr(self.norm, p) for p in ("encoder", "projector", "predictor")}
        for part, head in self.heads.items():
            if not isinstance(head.norm_output, bool):
                specs[f"method.{part}.norm_output"] = head.norm_output
        return specs

    def unused(self) -> Mapping[str, str]:
        """Return the settings for batch statistics, head layers or loggers that this run lacks."""
        found, used = {}, [self.norm.encoder]
        for part, head in self.heads.items():
            used += [norm for _, norm, _ in norms_of_head(part, head, self.norm_of(part))]
            if head.layers < 2 and head.norm_output is not True:
                found[f"norm.{part}"] = f"method.{part} has no layer with this norm"
        if not any(norm.batch_statistics for norm in used):
            for key in ("view_statistics", "freeze_last_epochs"):
                found[f"norm.{key}"] = "no norm of this run has batch statistics"
        if not self.loggers:
            found["monitor.embeddings"] = "it needs a logger; loggers is []"
        return found

    def memory_needs(self) -> Iterator[Need]:
        """Yield the images of a step, the weights of heads and the embeddings that are kept."""
        side, row = self.data.view_size, FLOAT * self.method.projector.output_dim
        images = self.batch_size // read_launch().world_size
        yield f"batch_size={self.batch_size} of {side} px", 2 * images * FLOAT * 3 * side**2
        for part, head in self.heads.items():
            yield from ((f"method.{part}.{key}", bytes_) for key, bytes_ in head.memory_needs())
        kept = {
            "method.queue_size": getattr(self.method, "queue_size", 0),
            "monitor.buffer_size": self.monitor.buffer_size,
            "monitor.embeddings": self.monitor.embeddings,
        }
        yield from ((f"{key}={rows}", rows * row) for key, rows in kept.items())

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        if is_saved(info):
            return
        yield from super()._faults(info)
        yield from self._faults_of_lengths()
        if not is_quick(info):
            processes = processes_of(self.device, self.batch_size)
            views = {"view1": self.augment.view1, "view2": self.augment.view2}
            check_extra(self.data.view_size, **views)
            yield from self._faults_of_heads()
            yield from self._faults_of_batch(processes)
            yield from self._faults_of_queue()

    def _faults_of_lengths(self) -> Iterator[str]:
        length = self.optimizer.schedule_epochs
        if length is not None and length < self.epochs:
            yield (
                f"optimizer.schedule_epochs={length} is shorter than the run of "
                f"epochs={self.epochs}; leave it out"
            )
        for key, value in (
            ("optimizer.warmup_epochs", self.optimizer.warmup_epochs),
            ("norm.freeze_last_epochs", self.norm.freeze_last_epochs),
        ):
            if value > self.epochs:
                yield (f"{key}={value} is longer than the run of epochs={self.epochs}; shorten it")
        every, keep = self.checkpoint_every, self.keep_every
        if keep is not None and keep % every:
            yield (
                f"keep_every={keep} is not a multiple of checkpoint_every={every}: checkpoints can "
                f"only be kept when they are written; use keep_every={-(-keep // every) * every}"
            )
        path = self.encoder.pretrained_path
        if path is not None and not self.resume and not Path(path).expanduser().is_file():
            yield (
                f"encoder.pretrained_path={path}: there is no such file; name a file of weights, "
                "such as a run's last.pt"
            )

    def _faults_of_heads(self) -> Iterator[str]:
        heads = self.heads
        for part, head in heads.items():
            check_head(part, head, self.norm_of(part))
        if "predictor" not in heads:
            if self.norm.predictor.name != "none":
                yield (
                    f"norm.predictor={self.norm.predictor}: {self.method.name} has no predictor; "
                    "set it to none"
                )
            return
        predicted, projected = heads["predictor"].output_dim, heads["projector"].output_dim
        if predicted != projected:
            yield (
                f"method.predictor.output_dim={predicted} differs from "
                f"method.projector.output_dim={projected}, which it predicts; set both to the same"
            )

    def _faults_of_batch(self, processes: int) -> Iterator[str]:
        images = self.batch_size // processes
        if images < 2:
            mixing = [f"{key}={norm}" for key, norm in self.norms.items() if norm.batch_statistics]
            what = f"{mixing[0]} has no batch statistics on one image" if mixing else ""
            yield (
                f"batch_size={self.batch_size} on {processes} process(es): "
                f"{what or 'negatives need a second image'}; use at least {2 * processes}"
            )
        samples = images * (2 if self.norm.view_statistics == "joint" else 1)
        check_chunks("norm.encoder", self.norm.encoder, samples, 1)
        for part, head in self.heads.items():
            for key, norm, _ in norms_of_head(part, head, self.norm_of(part)):
                check_chunks(key, norm, samples, 2)

    def _faults_of_queue(self) -> Iterator[str]:
        """Check the size of MoCo's queue, and whether its networks can share statistics."""
        queue_size: int | None = getattr(self.method, "queue_size", None)
        if queue_size is None:
            return
        symmetric: bool = getattr(self.method, "symmetric", False)
        if self.norm.view_statistics == "joint" and not symmetric:
            yield (
                "norm.view_statistics=joint: each of MoCo's networks sees one view; "
                "add method.symmetric=true"
            )
        enqueued = self.batch_size * (2 if symmetric else 1)
        if queue_size % enqueued:
            nearest = max(1, round(queue_size / enqueued)) * enqueued
            yield (
                f"method.queue_size={queue_size} is not a multiple of the {enqueued} keys of a "
                f"batch; the nearest is {nearest}"
            )


class DoctorSettings(PretrainSettings):
    """Check a run, before it starts, for bugs of public code: views, target, optimizer, statistics.

    python tools/doctor.py method=byol data=folder data.root=~/photos
                                 the run that tools/pretrain.py would start with these settings
    python tools/doctor.py target=mycode:loop
                                 your own loop: loop() returns the arguments of ssl_norm.doctor
    """

    target: Text | None = option(
        None, "module:function that returns the arguments of ssl_norm.doctor for another loop"
    )
    check_steps: int = option(3, "steps that are run and undone", unit="steps", ge=2, le=10**6)

    def unused(self) -> Mapping[str, str]:
        """Return the settings that a check does not read: all of a run if another loop is checked."""
        if self.target is None:
            reason = "the steps of a check are undone and leave no files"
            return {**dict.fromkeys(OF_WHOLE_RUNS, reason), **super().unused()}
        reason = f"target={self.target} is checked instead of a run of this package"
        return dict.fromkeys([*PretrainSettings.model_fields, "check_steps"], reason)

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        if self.resume:
            yield "resume=true: the check concerns the first steps of a run; leave it out"
        if not self.train:
            yield "train=false: a run without steps has nothing to check; leave it out"
        yield from super()._faults(info)
