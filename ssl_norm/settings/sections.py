"""Sections of settings that several tools share."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

from ssl_norm.data.augment.parameters import Probability, Scale, ViewParameters
from ssl_norm.data.registry import DATA, default_image_size
from ssl_norm.data.sources.folder_labels import LayoutName
from ssl_norm.errors import UserError
from ssl_norm.models.catalogue import ENCODERS, find_encoder
from ssl_norm.names import unknown_name
from ssl_norm.norms import NORMS, NormSpec, parse_norm
from ssl_norm.options import Settings, Text, check_object, is_quick, names_schema, option
from ssl_norm.registry import Registry
from ssl_norm.signature import check_options, declared_options
from ssl_norm.train.registry import LOGGERS

Colour = tuple[Probability, Probability, Probability]
Scales = tuple[Scale, Scale, Scale]
White = Annotated[int, Interval(ge=255, le=65535)] | Literal["auto"]
Count = Annotated[int, Interval(ge=1, le=10**6)]
Steps = Annotated[int, Interval(ge=1, le=10**9)]
Side = Annotated[int, Interval(ge=8, le=8192)]
Decay = Annotated[float, Interval(ge=0, lt=1)]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEVICE = r"auto|cpu|mps|cuda(:(0|[1-9]\d*))?"
FROM_RUN = {"seed", "progress"}  # options of a source that the run sets
LARGEST_SEED = 2**63 - 1  # both torch and numpy accept it


def _check_path(path: str) -> str:
    if not path.strip():
        raise ValueError("an empty path; name a file or folder, or leave it out")
    return path


def _check_device(device: str) -> str:
    if not re.fullmatch(DEVICE, device):
        raise ValueError(
            f"'{device}' is not a device; auto, cpu, cuda, cuda:<number> or mps expected"
        )
    return device


def _check_encoder(name: str, info: ValidationInfo) -> str:
    try:
        entry = find_encoder(name).entry
    except UserError as error:  # pydantic adds the key to a ValueError
        raise ValueError(str(error)) from error
    check_object(ENCODERS, entry, info)
    return name


def _check_name(registry: Registry, name: str, info: ValidationInfo) -> str:
    check_object(registry, name, info)
    return name


def unused_of_source(name: str) -> Mapping[str, str]:
    """Return the keys of `data` that other sources read and this one does not."""
    own = declared_options(DATA, name)
    takers: dict[str, list[str]] = {}
    for source in DATA.built_in if own else ():
        for key in declared_options(DATA, source).keys() - own.keys() - FROM_RUN - {"workers"}:
            takers.setdefault(key, []).append(source)
    return {
        k: f"data={name} does not read it, data={' | '.join(s)} does" for k, s in takers.items()
    }


def _check_suffix(path: str, *, suffix: str, taken: Sequence[str]) -> str:
    if Path(path).suffix.lower() in taken:
        raise ValueError(
            f"'{path}' would be overwritten: files of that name that end in {' and '.join(taken)} "
            f"are written next to it; name a file that ends in {suffix}"
        )
    return path


def check_extra(size: int, **views: ViewParameters) -> None:
    """Raise UserError unless the further operations of views of a size are possible."""
    for key, view in views.items():
        for index, entry in enumerate(view.extra):
            from ssl_norm.data.augment.extra import extra_transform  # needs torch

            extra_transform(entry, size, f"augment.{key}.extra[{index}]")


PathText = Annotated[Text, AfterValidator(_check_path)]
# Paths of files next to which others of the same name, with another suffix, are written.
RecordPath = Annotated[
    PathText, AfterValidator(partial(_check_suffix, suffix=".json", taken=[".png"]))
]
CheckpointPath = Annotated[
    PathText, AfterValidator(partial(_check_suffix, suffix=".pt", taken=[".json", ".png"]))
]
Device = Annotated[
    str,
    AfterValidator(_check_device),
    WithJsonSchema({"type": "string", "pattern": f"^({DEVICE})$"}),
]
EncoderName = Annotated[str, AfterValidator(_check_encoder)]
LoggerName = Annotated[
    str, AfterValidator(partial(_check_name, LOGGERS)), WithJsonSchema(names_schema(LOGGERS))
]
SourceName = Annotated[
    str, AfterValidator(partial(_check_name, DATA)), WithJsonSchema(names_schema(DATA))
]
Precision = Literal["auto", "float32", "bfloat16"]
# Settings of several sections.
EXACT_COLOUR = option(
    False, "apply each colour change in turn, hue in HSV, as published; false: one matrix, faster"
)
MEAN_OR_SAVED = option(
    None, "mean of each colour in [0, 1]; null: as in the checkpoint, else ImageNet's"
)
STD_OR_SAVED = option(None, "deviation of each colour; null: as in the checkpoint, else ImageNet's")
Seed = Annotated[int, Interval(ge=0, le=LARGEST_SEED)]


def _parse_norm(value: Any, info: ValidationInfo) -> NormSpec:
    try:
        spec = parse_norm(value)
        if not is_quick(info):
            return spec.checked()
        if spec.name in NORMS.built_in:
            check_options(NORMS[spec.name], spec.options, f"norm '{spec.name}'")
        return spec
    except TypeError as error:  # pydantic reports ValueError only
        raise ValueError(str(error)) from error


_NAME = names_schema(NORMS, "+ws")
_SCHEMAS = [
    *_NAME["anyOf"],
    {"type": "object", "properties": {"name": _NAME}, "required": ["name"]},
]
NormChoice = Annotated[
    NormSpec,
    BeforeValidator(_parse_norm),
    PlainSerializer(lambda spec: spec.setting),
    WithJsonSchema({"anyOf": _SCHEMAS}),
]
OutputNorm = Annotated[
    bool | NormSpec,
    BeforeValidator(lambda v, info: v if isinstance(v, bool) else _parse_norm(v, info)),
    PlainSerializer(lambda value: value if isinstance(value, bool) else value.setting),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, *_SCHEMAS]}),
]


class DataSettings(Settings):
    """Source of the images, and where they are kept.

    A source of another package may have further keys.
    """

    model_config = ConfigDict(extra="allow")

    name: SourceName = option("digits", "source of the images: a name, or module:function")
    root: PathText | None = option(None, "folder that holds the files", resume=True)
    download: bool = option(True, "cifar10, stl10: download missing files", resume=True)
    image_size: Side | None = option(
        None, "side of a view; null: digits 16, cifar10 32, stl10 and folder 96", unit="pixels"
    )
    layout: LayoutName = option(
        "auto",
        "folder: meaning of sub-folders; splits: train and test; flat: images without labels",
    )
    white: White | None = option(
        None, "folder: value of white in images of more than 8 bits; null: 65535; auto: by a sample"
    )
    max_pixels: int = option(
        100_000_000, "folder: largest image that is decoded", unit="pixels", ge=64, le=10**10
    )
    cache_size: Side | None = option(
        None, "side of a cached image; null: image_size up to 64 px, 8/7 of larger", unit="pixels"
    )
    cache_dir: PathText | None = option(
        None, "folder of decoded images; null: ~/.cache/ssl_norm", resume=True
    )
    resident: Literal["auto"] | bool = option(
        "auto", "keep all pixels in memory; auto: if they fit", resume=True
    )
    on_corrupt: Literal["stop", "skip"] = option("stop", "action for a file that cannot be decoded")
    workers: int = option(
        2, "processes that decode files and load batches", resume=True, ge=0, le=1024
    )
    limit: int | None = option(
        None,
        "size of a seeded subset to train on; the linear probe still uses all labels",
        unit="images",
        ge=2,
        le=10**10,
    )
    test_fraction: float = option(
        0.2, "share held out for evaluation if the source has no test split", gt=0, lt=1
    )

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        own = declared_options(DATA, self.name).keys() - FROM_RUN
        for key in self.model_extra or ():
            if key not in own:
                known = dict.fromkeys([*type(self).model_fields, *sorted(own)])
                yield unknown_name("key of data", key, known)

    def unused(self) -> Mapping[str, str]:
        """Return the keys of other sources."""
        return unused_of_source(self.name)

    @property
    def view_size(self) -> int:
        """Side of a view in pixels: `image_size`, or the default of the source."""
        return self.image_size or default_image_size(self.name)


class EncoderSettings(Settings):
    """The network whose features are learned; its classifier is removed."""

    name: EncoderName = option("tiny", "tiny, any timm model, torchvision/<model>, module:function")
    small_images: bool | None = option(
        None, "3x3 stem without max-pool; null: true for images up to 64 px"
    )
    pretrained_path: PathText | None = option(None, "file of encoder weights to start from")

    def unused(self) -> Mapping[str, str]:
        """Return the choice of a stem if the encoder has only one."""
        return (
            {"small_images": "encoder.name=tiny has only one stem"} if self.name == "tiny" else {}
        )


class OptimizerSettings(Settings):
    """Optimizer and learning rate schedule of both training tools."""

    name: Literal["sgd", "lars", "adamw"] = option("sgd", "optimizer")
    lr: float = option(
        0.4,
        "learning rate for 256 images per step; the effective rate is proportional to the batch",
        gt=0,
        le=1e30,
    )
    momentum: Decay = option(0.9, "momentum of sgd and lars", only_with="name=sgd|lars")
    weight_decay: float = option(1e-4, "L2 factor; decoupled with adamw", ge=0, le=1e3)
    schedule: Literal["cosine", "constant"] = option("cosine", "schedule of the learning rate")
    exclude_norm_and_bias: bool = option(
        False, "exclude norms and biases from weight decay and from the scaling by LARS"
    )
    lars_eta: float = option(1e-3, "trust coefficient of lars", only_with="name=lars", gt=0, le=10)
    betas: tuple[Decay, Decay] = option(
        (0.9, 0.999), "decay rates of adamw's two moments", only_with="name=adamw"
    )

    def unused(self) -> Mapping[str, str]:
        """Return `exclude_norm_and_bias` if there is neither weight decay nor LARS."""
        is_unused = self.weight_decay == 0 and self.name != "lars"
        return {"exclude_norm_and_bias": "weight_decay=0 excludes all"} if is_unused else {}


class EncoderOverride(Settings):
    """Encoder keys that override those of a checkpoint; null: as in the checkpoint."""

    name: EncoderName | None = option(None, "encoder; required if the file holds only weights")
    small_images: bool | None = option(None, "3x3 stem without max-pool")


class NormOverride(Settings):
    """The encoder's norm; null: as in the checkpoint, else the architecture's own."""

    encoder: NormChoice | None = option(
        None, "norm of the encoder; null: as in the checkpoint, else the architecture's own"
    )
