"""Every key of every tool, with its default, once. Needs no torch, so that `--help` and errors answer at once."""

from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import MISSING

from ssl_norm.data.registry import default_image_size


@dataclass
class HeadConfig:
    """An MLP head: `layers - 1` times (Linear, norm, ReLU), then an output Linear."""

    layers: int = 2  # Linear layers; 0: no head
    hidden_dim: int = 512  # channels of the hidden layers
    output_dim: int = 128  # channels of the embedding
    norm_output: Any = False  # true (SimCLR): the norm after the output layer, too; or another norm


@dataclass
class MethodConfig:
    """What every learner has."""

    name: str = MISSING  # of the learner, chosen by method=<name>
    projector: HeadConfig = field(default_factory=HeadConfig)


@dataclass
class ByolConfig(MethodConfig):
    """Bootstrap Your Own Latent (arXiv 2006.07733)."""

    name: str = "byol"  # chosen by method=byol
    predictor: HeadConfig = field(default_factory=HeadConfig)
    ema_decay: float = 0.996  # of the target network, per step
    ema_schedule: str = "cosine"  # cosine: grows to 1 over the run; constant
    ema_buffers: bool = (
        False  # false, as published: the target's batch norms keep statistics of their own
    )


@dataclass
class SimclrConfig(MethodConfig):
    """SimCLR (arXiv 2002.05709)."""

    name: str = "simclr"  # chosen by method=simclr
    temperature: float = 0.5  # that similarities are divided by in NT-Xent


@dataclass
class MocoV2Config(MethodConfig):
    """MoCo v2 (arXiv 2003.04297)."""

    name: str = "moco_v2"  # chosen by method=moco_v2
    temperature: float = 0.2  # that similarities are divided by in InfoNCE
    queue_size: int = 4096  # keys of earlier batches that serve as negatives
    symmetric: bool = False  # true: both views are queries, as in MoCo's CIFAR recipe
    shuffle_keys: bool = (
        True  # a key's batch is not its query's; with plain bn on one device it changes nothing
    )
    ema_decay: float = 0.99  # of the key encoder, per step
    ema_schedule: str = "constant"  # cosine: grows to 1 over the run; constant
    ema_buffers: bool = (
        False  # false, as published: the key encoder's batch norms keep statistics of their own
    )


@dataclass
class DataConfig:
    """Where images come from and how they are kept."""

    name: str = "digits"  # source of the images, chosen by data=<name>
    root: Optional[str] = None  # folder that holds the files
    download: bool = True  # cifar10, stl10: fetch what is missing
    image_size: Optional[int] = (
        None  # side in pixels of a view; null: digits 16, cifar10 32, stl10 and folder 96
    )
    cache_size: Optional[int] = (
        None  # side of a cached image; null: image_size up to 64, else 8/7 of it
    )
    cache_dir: Optional[str] = None  # null: ~/.cache/ssl_norm
    resident: Any = "auto"  # auto | true | false: keep all pixels in memory
    on_corrupt: str = "stop"  # stop | skip: what to do with a file that does not decode
    workers: int = 2  # processes that decode files and stream batches
    limit: Optional[int] = None  # train on a seeded subset; the linear probe still uses all labels
    test_fraction: float = 0.2  # held out for evaluation where the files name no test split

    @property
    def view_size(self) -> int:
        """Side in pixels of a view: `image_size`, or what the source of the images asks for."""
        return self.image_size or default_image_size(self.name)


@dataclass
class ViewConfig:
    """One random view; probabilities in [0, 1], strengths as in torchvision's ColorJitter."""

    crop_area: tuple[float, float] = (
        0.08,
        1.0,
    )  # least and largest share of the image's area in a crop
    crop_ratio: tuple[float, float] = (0.75, 4 / 3)  # least and largest width / height of a crop
    flip: float = 0.5  # probability of a horizontal flip
    jitter: float = 0.8  # probability of the four colour changes below
    brightness: float = 0.4  # largest relative change
    contrast: float = 0.4  # largest relative change
    saturation: float = 0.2  # largest relative change
    hue: float = 0.1  # largest shift, of 0.5 that is half the colour circle
    grey: float = 0.2  # probability of grey
    blur: float = 0.5  # probability of a Gaussian blur
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # least and largest standard deviation, in pixels
    solarize: float = 0.0  # probability of inverting bright pixels
    solarize_threshold: float = 0.5  # brightness from which pixels are inverted, in [0, 1]
    extra: list[Any] = field(
        default_factory=list
    )  # kornia operations, e.g. [{name: RandomRotation, degrees: 10}]


@dataclass
class AugmentConfig:
    """The two views, and the normalisation that follows both."""

    view1: ViewConfig = field(default_factory=ViewConfig)
    view2: ViewConfig = field(default_factory=ViewConfig)
    mean: tuple[float, float, float] = (
        0.485,
        0.456,
        0.406,
    )  # of each colour in [0, 1], subtracted from pixels
    std: tuple[float, float, float] = (
        0.229,
        0.224,
        0.225,
    )  # of each colour, which pixels are divided by
    exact_colour: bool = False  # true: jitter step by step with hue in HSV, as published; slower


@dataclass
class EncoderConfig:
    """The network whose features are wanted; its classifier is removed."""

    name: str = "tiny"  # tiny, any timm model, torchvision/<model>
    small_images: Optional[bool] = (
        None  # 3x3 stem without max-pool; null: true for images up to 64 px
    )
    pretrained_path: Optional[str] = None  # start from these encoder weights


@dataclass
class NormConfig:
    """A norm for each part: a name (`gn+ws`) or a mapping (`{name: gn, groups: 16}`)."""

    encoder: Any = "bn"  # norm of the encoder: a name (gn+ws) or a mapping ({name: gn, groups: 16})
    projector: Any = "bn"  # norm of the projector's hidden layers; none: without
    predictor: Any = "bn"  # norm of the predictor's hidden layers; none: without
    view_statistics: str = "separate"  # separate | joint: whether both views share batch statistics
    freeze_last_epochs: int = 0  # epochs at the end with the statistics of batch norms frozen


@dataclass
class OptimizerBase:
    """What an optimizer is in pretraining and in fine-tuning."""

    name: str = "sgd"  # sgd | lars | adamw
    lr: float = 0.4  # learning rate at 256 images a step; the one that runs grows with the batch
    momentum: float = 0.9  # of sgd and lars
    weight_decay: float = 1e-4  # L2 factor; with adamw decoupled
    schedule: str = "cosine"  # cosine | constant
    exclude_norm_and_bias: bool = False  # from weight decay, and from LARS adaptation
    lars_eta: float = 1e-3  # trust coefficient of lars
    betas: tuple[float, float] = (0.9, 0.999)  # decays of adamw's two moments


@dataclass
class OptimizerConfig(OptimizerBase):
    """The optimizer and its schedule; the rate that runs is `lr * batch_size * accumulate / 256`."""

    warmup_epochs: float = 0.5  # epochs over which the learning rate grows from 0
    schedule_epochs: Optional[int] = None  # length of the schedules, ema_schedule too; null: epochs


@dataclass
class MonitorConfig:
    """Collapse monitors, the verdict and its consequences; results/verdict.md tells how its zones were calibrated."""

    log_every: int = 10  # steps between rows of metrics.csv
    spectral_every: int = 20  # steps between measurements of rank and spectrum
    buffer_size: int = 1024  # latest embeddings whose spectrum is measured
    layers_every: int = 50  # steps between measurements of every layer, beside steps 1, 2, 4, 8, ... below it; 0: never
    on_collapse: str = (
        "warn"  # warn | stop | rollback (stop at the last healthy checkpoint) | ignore
    )
    patience: int = 20  # steps in a row in another zone that change the verdict
    complete_cosine: float = 0.99  # complete collapse: negative cosine above this ...
    complete_std: float = 0.05  # ... or feature std below this
    healthy_cosine: float = 0.9  # healthy: negative cosine below this ...
    healthy_std: float = 0.25  # ... and feature std above this
    dimensional_rank: float = (
        5.0  # dimensional: effective rank below this, where ten times as much is possible
    )
    embeddings: int = 0  # images in TensorBoard's embedding projector, at the end


@dataclass
class PretrainConfig:
    """Keys of tools/pretrain.py."""

    method: MethodConfig = MISSING
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    study: Optional[str] = None  # name of a file in configs/study/
    arm: Optional[str] = None  # of the study; with -m and without arm=..., all of them
    train: bool = True  # false: measure and evaluate the network at its initialisation
    epochs: int = 20  # passes over the training images
    batch_size: int = 128  # images per step over all ranks
    accumulate: int = 1  # batches per optimizer step
    seed: int = 0  # of weights, order, views and subsets
    device: str = "auto"  # auto | cpu | cuda | cuda:1 | mps
    precision: str = "auto"  # auto | float32 | bfloat16; auto: bfloat16 on GPUs that have it
    channels_last: bool = True  # memory format NHWC, which convolutions are faster in
    run_dir: Optional[str] = None  # null: runs/<date>_<method>_<norms>
    resume: bool = (
        False  # go on with the run in run_dir, with its settings where no other ones are typed
    )
    checkpoint_every: int = 1  # epochs between writes of last.pt
    keep_every: Optional[int] = None  # epochs between checkpoints that are kept as step_*.pt
    linear_probe: bool = True  # end with linear top-1, where the data has labels
    probe_labels: float = 1.0  # fraction of the training labels that it uses, seeded, per class


@dataclass
class KnnConfig:
    """Weighted k-nearest neighbours (Wu et al., arXiv 1805.01978)."""

    k: int = 200  # neighbours that vote
    temperature: float = 0.1  # that similarities are divided by in the weights of votes


@dataclass
class SgdProbeConfig:
    """The papers' linear protocol: SGD on frozen features with cosine decay."""

    lr: float = 0.1  # learning rate at its start
    epochs: int = 100  # passes over the features
    batch_size: int = 256  # features per step
    momentum: float = 0.9  # of SGD
    weight_decay: float = 0.0  # L2 factor


@dataclass
class DataOverride:
    """Keys of `DataConfig` that concern labelled images; null: as the checkpoint says."""

    name: Optional[str] = None  # source of the images
    root: Optional[str] = None  # folder that holds the files
    download: Optional[bool] = None  # cifar10, stl10: fetch what is missing
    image_size: Optional[int] = None  # side in pixels of an image
    cache_size: Optional[int] = None  # side of a cached image
    cache_dir: Optional[str] = None  # folder of cached images
    on_corrupt: Optional[str] = None  # stop | skip: what to do with a file that does not decode
    workers: Optional[int] = None  # processes that decode files
    test_fraction: Optional[float] = (
        None  # held out for evaluation where the files name no test split
    )


@dataclass
class EncoderOverride:
    """Keys of `EncoderConfig` that replace those of a checkpoint; null: as the checkpoint says."""

    name: Optional[str] = None  # needed where the file holds weights only
    small_images: Optional[bool] = None  # 3x3 stem without max-pool


@dataclass
class NormOverride:
    """The encoder's norm; null: as the checkpoint says, else the architecture's own."""

    encoder: Any = (
        None  # norm of the encoder; null: as the checkpoint says, else the architecture's own
    )


@dataclass
class PixelOverride:
    """Normalisation of pixels, per colour in [0, 1]; null: as the checkpoint says, else ImageNet's."""

    mean: Optional[tuple[float, float, float]] = (
        None  # of each colour in [0, 1]; null: as the checkpoint says, else ImageNet's
    )
    std: Optional[tuple[float, float, float]] = (
        None  # of each colour; null: as the checkpoint says, else ImageNet's
    )


@dataclass
class SubjectConfig:
    """Keys of all tools that look at a checkpoint; where one is null, the checkpoint says."""

    checkpoint: str = MISSING  # a file of weights, or a run folder (its last.pt)
    data: DataOverride = field(default_factory=DataOverride)
    encoder: EncoderOverride = field(default_factory=EncoderOverride)
    norm: NormOverride = field(default_factory=NormOverride)
    augment: PixelOverride = field(default_factory=PixelOverride)
    batch_size: int = 256  # images per forward pass
    seed: int = 0  # of subsets, views and random initialisation
    device: str = "auto"  # auto | cpu | cuda | cuda:1 | mps


@dataclass
class EvaluationConfig(SubjectConfig):
    """Keys of all tools that score a checkpoint on labelled images."""

    protocol: str = "logistic"  # logistic | sgd
    labels: float = 1.0  # fraction of the training labels, seeded, per class
    knn: KnnConfig = field(default_factory=KnnConfig)
    sgd: SgdProbeConfig = field(default_factory=SgdProbeConfig)


@dataclass
class LinearEvalConfig(EvaluationConfig):
    """Keys of tools/linear_eval.py."""

    network: str = (
        "online"  # online, or the only one | target: the slowly moving one (EMA, momentum encoder)
    )
    kept: bool = (
        False  # every checkpoint that the run kept (keep_every), for its accuracy over the steps
    )
    random_init: bool = True  # evaluate the same encoder at random initialisation, too
    output: Optional[str] = (
        None  # null: linear_eval[_steps][_target].json beside the checkpoint, by kept and network
    )


@dataclass
class PopulationStatsConfig(EvaluationConfig):
    """Keys of tools/population_stats.py."""

    views: Optional[str] = (
        None  # train: augmented as in training | plain; null: train, for a file of weights plain
    )
    samples: int = 10_000  # images that the statistics are of, in whole batches; plain: each once
    corruption: Any = None  # of all images, for classifiers: {name: contrast, severity: 3}
    output: Optional[str] = None  # null: <name>_exact.pt beside the checkpoint


@dataclass
class ReportConfig:
    """Keys of tools/report.py."""

    runs: Any = MISSING  # folder, glob, or [several]; every run folder in and below them is read
    output: Optional[str] = None  # folder; null: report/ in the searched folder, of several here
    title: Optional[str] = None  # null: the study, else the name of the searched folder
    group_by: Any = (
        None  # key or [keys]; null: the arm of a study, else what differs but seed and paths
    )


@dataclass
class DiagnoseConfig(SubjectConfig):
    """Keys of tools/diagnose.py."""

    samples: int = 2000  # images that are looked at, at most
    views: int = 2  # augmented views of each; the positive cosine is of two, LiDAR of all
    random_init: bool = True  # measure the same network at random initialisation, too
    output: Optional[str] = (
        None  # null: diagnosis.json beside a run's last.pt, else <file>_diagnosis.json
    )


@dataclass
class FinetuneAugmentConfig:
    """The random view that is trained on, and the normalisation that follows it."""

    view: ViewConfig = field(
        default_factory=lambda: ViewConfig(crop_area=(0.35, 1.0), jitter=0.0, grey=0.0, blur=0.0)
    )
    mean: Optional[tuple[float, float, float]] = None  # null: as the checkpoint says, else ImageNet
    std: Optional[tuple[float, float, float]] = None  # null: as the checkpoint says, else ImageNet
    exact_colour: bool = False  # true: jitter step by step with hue in HSV, as published; slower

    @property
    def normalisation(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and std of the pixels: those given, else ImageNet's."""
        usual = AugmentConfig()
        mean = usual.mean if self.mean is None else self.mean
        return mean, usual.std if self.std is None else self.std


@dataclass
class FinetuneNormConfig:
    """The encoder's norm: a name (`gn+ws`) or a mapping (`{name: gn, groups: 16}`)."""

    encoder: Any = None  # null: as the checkpoint says, else bn
    freeze_last: float = (
        0.0  # share of the steps, at the end, with the statistics of batch norms frozen
    )


@dataclass
class FinetuneOptimizerConfig(OptimizerBase):
    """The optimizer and its schedule; the rate that runs is `lr * batch_size / 256`."""

    warmup_steps: int = 0  # steps over which the learning rate grows from 0


@dataclass
class UbnConfig:
    """What norm.encoder=ubn takes its statistics from (Kocyigit et al., CVPR Workshops 2020)."""

    ratio: float = 4.0  # unlabelled images per labelled one in the joint batch
    gradient: bool = True  # it flows through the statistics of one joint pass; false: they are constants, cheaper


@dataclass
class GroupingConfig:
    """Class-correlated batches, as of workers that each hold a few classes."""

    chunk: Optional[int] = None  # images of a chunk; null: batches are drawn at random
    classes: int = 1  # classes in a chunk
    shuffle: bool = False  # spread the images of all chunks over the batch again


@dataclass
class ScoringConfig:
    """How the test images are scored; a row of evaluations.csv for each way."""

    every: int = 0  # steps between scores; 0: at the end only
    statistics: list[str] = field(
        default_factory=lambda: ["population", "exact", "batch"]
    )  # that batch norms normalise test images with, each a row
    limit: Optional[int] = None  # test images, a seeded subset; null: all
    batch_size: int = 256  # images of an evaluation batch, which batch statistics see
    samples: list[int] = field(
        default_factory=lambda: [10_000]
    )  # images that exact statistics are of, each a row at the end; while training the first
    batch_sizes: list[int] = field(
        default_factory=lambda: [256]
    )  # batches that they are gathered in, each a row at the end; while training the first
    train: bool = False  # score the training images, too, in training mode on training views
    corruptions: list[Any] = field(
        default_factory=list
    )  # of the test images, e.g. [{name: contrast, severity: 5}]
    adapt_samples: list[int] = field(
        default_factory=lambda: [10, 100, 1000]
    )  # corrupted training images that statistics are re-estimated on
    uncertainty: int = (
        0  # draws of batch statistics; above 0: whether their std tells wrong from right (AUROC)
    )


@dataclass
class FinetuneConfig:
    """Keys of tools/finetune.py."""

    checkpoint: Optional[str] = (
        None  # encoder weights to start from, a run folder or a file; null: random initialisation
    )
    data: DataConfig = field(default_factory=DataConfig)
    augment: FinetuneAugmentConfig = field(default_factory=FinetuneAugmentConfig)
    encoder: EncoderOverride = field(default_factory=EncoderOverride)
    norm: FinetuneNormConfig = field(default_factory=FinetuneNormConfig)
    optimizer: FinetuneOptimizerConfig = field(default_factory=FinetuneOptimizerConfig)
    ubn: UbnConfig = field(default_factory=UbnConfig)
    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    evaluation: ScoringConfig = field(default_factory=ScoringConfig)
    domains: list[Any] = field(
        default_factory=list
    )  # each batch has an equal chunk of each, e.g. [clean, {name: gaussian_noise, severity: 5}]
    labels: Any = 1.0  # labelled images, seeded and balanced; a fraction up to 1.0: of each class
    labels_per_class: Optional[int] = None  # labelled images of each class, instead of labels
    study: Optional[str] = None  # name of a file in configs/study/
    arm: Optional[str] = None  # of the study; with -m and without arm=..., all of them
    steps: int = 1000  # steps of the whole run
    batch_size: int = 64  # labelled images per step
    seed: int = 0  # of weights, order, views and subsets
    device: str = "auto"  # auto | cpu | cuda | cuda:1 | mps
    precision: str = "auto"  # auto | float32 | bfloat16; auto: bfloat16 on GPUs that have it
    channels_last: bool = True  # memory format NHWC, which convolutions are faster in
    run_dir: Optional[str] = None  # null: runs/<date>_finetune_<norm>_<n>labels
    resume: bool = (
        False  # go on with the run in run_dir, with its settings where no other ones are typed
    )
    checkpoint_every: int = 200  # steps between writes of last.pt
    log_every: int = 20  # steps between rows of metrics.csv


@dataclass
class ToyConfig:
    """Keys of tools/toy.py."""

    labels_per_class: int = (
        4  # labelled points of each moon; together they are the batch of every step
    )
    unlabelled: int = 500  # points without a label, on which accuracy is measured
    noise: float = 0.1  # standard deviation of the points around their moons, whose radius is 1
    ubn: UbnConfig = field(default_factory=UbnConfig)
    control: Any = "none"  # a norm without batch statistics, in the table beside bn and ubn
    hidden_dim: int = 64  # channels of the hidden layers
    layers: int = 3  # Linear layers; all but the last are followed by the norm and a ReLU
    steps: int = 100  # of training, each on all labelled points
    lr: float = 0.01  # of Adam
    draws: int = 50  # of batch statistics, for the standard deviation of the predictions
    seed: int = 0  # of the picture: of points, initial weights and joint batches
    seeds: int = 10  # seed, seed + 1, ...: so many are in the table
    output: str = "toy.png"  # .png, .pdf or .svg


# Keys, and parents of keys, on which no weight of a run depends.
MAY_CHANGE_ON_RESUME = {
    "run_dir", "resume", "device", "checkpoint_every", "keep_every", "linear_probe", "probe_labels", "monitor",
    "evaluation", "log_every",
    "data.root", "data.cache_dir", "data.workers", "data.resident", "data.download",
}  # fmt: skip


def may_change_on_resume(key: str) -> bool:
    """Whether no weight of a run depends on a dotted key."""
    return not {key, key.partition(".")[0]}.isdisjoint(MAY_CHANGE_ON_RESUME)


SCHEMAS: dict[str, type] = {
    "schema/pretrain": PretrainConfig,
    "schema/finetune": FinetuneConfig,
    "schema/linear_eval": LinearEvalConfig,
    "schema/population_stats": PopulationStatsConfig,
    "schema/diagnose": DiagnoseConfig,
    "schema/report": ReportConfig,
    "schema/toy": ToyConfig,
    "schema/method/byol": ByolConfig,
    "schema/method/simclr": SimclrConfig,
    "schema/method/moco_v2": MocoV2Config,
}
