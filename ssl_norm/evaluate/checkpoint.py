"""Checkpoint on disk: a pretraining run, a classifier, or weights of another package."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_norm.console import say
from ssl_norm.data.augment.parameters import check_normalisation
from ssl_norm.data.augment.views import Views
from ssl_norm.data.dataset import Splits
from ssl_norm.data.load import known_settings, load_splits
from ssl_norm.data.registry import default_image_size
from ssl_norm.distributed import rank
from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.protocol import ProbeImages
from ssl_norm.learners.learner import Learner
from ssl_norm.models.catalogue import library_of
from ssl_norm.models.encoders import has_open_stem, has_strided_stem
from ssl_norm.models.heads import Classifier
from ssl_norm.models.load import LoadReport, NetworkRole, load_encoder_weights, read_checkpoint
from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.norms.batch.freezing import evaluation_mode
from ssl_norm.settings.resume import restore
from ssl_norm.text import first_line
from ssl_norm.train.builder import initial_encoder, make_encoder, make_learner, make_views
from ssl_norm.train.checkpoint import FORMAT, save_checkpoint
from ssl_norm.train.population import MakeViews

RECORDED = {
    "name": ("encoder", "name"),
    "small_images": ("encoder", "small_images"),
    "norm": ("norm", "encoder"),
    "mean": ("augment", "mean"),
    "std": ("augment", "std"),
}  # keys of an encoder's record, and the settings that override them
RECORD_TYPES: Mapping[str, Any] = {
    "name": str, "small_images": bool, "norm": str | Mapping, "image_size": int,
    "mean": list | tuple, "std": list | tuple, "library": str,
}  # fmt: skip
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class Checkpoint:
    """The network in a file, and the images on which it is evaluated.

    Settings are those in the file, overridden by the user's. Two checkpoints are equal if their
    networks have the same architecture and are evaluated on the same images.
    """

    path: Path = field(compare=False)  # the file
    contents: Mapping[str, Any] = field(compare=False, repr=False)  # on the CPU
    record: Mapping[str, Any] = field(compare=False, repr=False)  # see :func:`_encoder_record`
    # `run` of tools/pretrain.py, `classifier` of tools/finetune.py, or `weights`
    kind: Literal["run", "classifier", "weights"] = field(compare=False)
    encoder_name: str  # architecture of the encoder
    small_images: bool | None  # whether its stem is that for small images; None: see `stem`
    norm: Any  # norm of the encoder, a name or a mapping; None: the architecture's own
    trained_size: int  # side in pixels of the views in training
    view_size: int  # side in pixels of the images in evaluation
    mean: tuple[float, ...]  # mean of each colour, in [0, 1]
    std: tuple[float, ...]  # deviation of each colour, above 0
    data: Mapping[str, Any]  # source of the images with its settings, for `load_splits`
    seed: int  # seed of the random initialization, and of a test split if the source has none
    changes: tuple[str, ...] = field(compare=False)  # differences of evaluation from training

    @classmethod
    def read(cls, given: str | Path, overrides: Mapping[str, Any]) -> "Checkpoint":
        """Read a file.

        Args:
            given: a file, or a run folder with last.pt.
            overrides: settings of a tool as nested plain containers, with None for the values of
                the file; only `encoder`, `norm`, `augment`, `data` and `seed` are used.

        Raises:
            UserError: there is no such file, it has another format, the encoder or the data is not
                named, or a mean or std is out of range.
        """
        path = find_file(given)
        contents, saved, kind = read_checkpoint(path), {}, "weights"
        if {"format", "config", "learner"} <= contents.keys():
            if contents["format"] != FORMAT:
                raise UserError(
                    f"{path} has format {contents['format']}; this version reads {FORMAT}"
                )
            saved, kind = contents["config"], "classifier" if "classes" in contents else "run"
        trained = _encoder_record(contents, saved)
        wishes = _recorded(overrides)
        used = IMAGENET | trained | wishes
        if "name" not in used:
            raise UserError(
                "the checkpoint does not say which encoder it holds; add encoder.name=..., "
                "for example encoder.name=resnet50"
            )
        check_normalisation(used["mean"], used["std"])
        data = _choose_data(saved.get("data", {}), overrides.get("data", {}))
        return cls(
            path=path,
            contents=contents,
            record=trained,
            kind=kind,  # type: ignore[arg-type]
            encoder_name=used["name"],
            small_images=used.get("small_images"),
            norm=used.get("norm"),
            trained_size=trained.get("image_size") or _view_size(saved.get("data", data)),
            view_size=_view_size(data),
            mean=tuple(used["mean"]),
            std=tuple(used["std"]),
            data=data,
            seed=saved.get("seed", overrides.get("seed", 0)),
            changes=tuple(_changes(trained, wishes, path)),
        )

    @property
    def step(self) -> int | None:
        """Step of the training that wrote the file; None for weights."""
        return None if self.kind == "weights" else int(self.contents["step"])

    @property
    def saved(self) -> Mapping[str, Any]:
        """Settings of the training that wrote the file, as nested plain containers."""
        return {} if self.kind == "weights" else self.contents["config"]

    @property
    def source(self) -> dict[str, Any]:
        """Name and root of the images, for records."""
        return {key: self.data.get(key) for key in ("name", "root")}

    @property
    def limit(self) -> int | None:
        """Number of training images, if training had the same source; None: all images."""
        trained_on = self.saved.get("data", {})
        same = all(trained_on.get(key) == value for key, value in self.source.items())
        return trained_on.get("limit") if same else None

    def settings(self) -> Any:
        """Return the typed settings of training; for a run, with encoder and pixels of evaluation.

        Raises:
            UserError: this version does not know a key or a value.
        """
        saved = dict(self.saved)
        if self.kind == "run":
            encoder = {"name": self.encoder_name, "small_images": self.small_images}
            evaluated: dict[str, dict[str, Any]] = {
                "encoder": {**encoder, "pretrained_path": None},
                "norm": {"encoder": self.norm},
                "augment": {"mean": self.mean, "std": self.std},
            }
            saved |= {key: saved.get(key, {}) | values for key, values in evaluated.items()}
        try:
            return restore("pretrain" if self.kind == "run" else "finetune", saved)
        except (KeyError, UserError) as error:
            reason = first_line(error)
            raise UserError(
                f"the checkpoint's configuration belongs to another version: {reason}"
            ) from error

    @cached_property
    def stem(self) -> bool | None:
        """Return whether the encoder has the stem for small images; None: `trained_size` decides.

        If a file of weights has no record, the stem is the architecture's own, unless its tensors
        fit only the other stem.
        """
        if self.small_images is not None or self.kind != "weights":
            return self.small_images
        for small_images in (False, True):
            try:
                self._load(self._build(small_images), "online")
            except UserError:  # does not fit, or there is no such stem
                continue
            return small_images
        return False

    def _build(self, stem: bool | None) -> nn.Module:
        return make_encoder(self.encoder_name, stem, self.norm, self.trained_size, self.seed)[0]

    def untrained_encoder(self) -> nn.Module:
        """Return the encoder at the random initialization of the seed.

        Raises:
            UserError: it cannot be built, or does not take images of `view_size`.
        """
        encoder, size = self._build(self.stem), self.view_size
        if size == self.trained_size:
            return encoder
        try:
            with evaluation_mode(encoder), torch.no_grad():
                encoder(torch.zeros(1, 3, size, size))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UserError(
                f"encoder '{self.encoder_name}' trained on {self.trained_size} px does not take "
                f"{size} px; set data.image_size={self.trained_size}"
            ) from error
        return encoder

    def encoder(
        self, network: NetworkRole = "online", *, new_norms: bool = False
    ) -> tuple[nn.Module, LoadReport]:
        """Return the encoder with its weights, and the report of their match; print the report.

        Args:
            network: network to use if the file has two.
            new_norms: whether norms that replace those of the file may keep initial values.

        Raises:
            UserError: the encoder cannot be built, or a tensor does not fit.
        """
        encoder = self.untrained_encoder()
        report = self._load(encoder, network, new_norms)
        for change in self.changes:
            say(f"{self.path}: {change}")
        if self.kind == "weights" and self.small_images is None:
            if has_open_stem(encoder):
                say(
                    f"{self.path} does not tell the stride of its stem, so that of its architecture "
                    "is used; set encoder.small_images=true if it was trained with the 3x3 stem"
                )
            elif self.stem or has_strided_stem(encoder):
                stem = f"encoder.small_images={str(self.stem).lower()}"
                say(f"{self.path}: {stem}, because the tensors of the file fit this stem")
        if report.network != network:
            say(f"{self.path}: the {report.network} network is used, the only one in the file")
        monitor = self.contents.get("monitor") if self.kind == "run" else None
        verdict = monitor.get("verdict") if isinstance(monitor, Mapping) else None
        if isinstance(verdict, list | tuple) and [*verdict][:1] == ["complete"]:
            say(
                f"warning: {self.path} comes from a run whose embeddings had collapsed by step "
                f"{self.step}; an earlier step_*.pt may be better (docs/collapse.md)"
            )
        say(f"{self.path}: {report}")
        return encoder, report

    def _load(
        self, encoder: nn.Module, network: NetworkRole, new_norms: bool = False
    ) -> LoadReport:
        trained = self.record.get("norm")
        is_same = self.norm_spec == (None if trained is None else parse_norm(trained))
        return load_encoder_weights(
            encoder,
            self.path,
            network=network,
            other_norms="refuse" if is_same else "reset" if new_norms else "drop",
            contents=self.contents,
        )

    @property
    def norm_spec(self) -> NormSpec | None:
        """Norm of the encoder; None: the architecture's own."""
        return None if self.norm is None else parse_norm(self.norm)

    def networks(self, *, trained: bool = True) -> tuple[nn.Module, nn.Module]:
        """Return the whole network and the part that is evaluated, with weights or without.

        For a run these are the learner and its encoder; otherwise both are the same network.

        Raises:
            UserError: the settings or the weights do not fit this version.
        """
        if self.kind == "weights":
            encoder = self.encoder()[0] if trained else self.untrained_encoder()
            return encoder, encoder
        settings = self.settings()
        encoder = initial_encoder(settings)[0]
        network: nn.Module
        if self.kind == "run":
            network = make_learner(settings, encoder)
        else:
            network = Classifier(encoder, len(self.contents["classes"]), seed=settings.seed)
        if trained:
            try:
                network.load_state_dict(self.contents["learner"])
            except RuntimeError as error:
                reason = shorten(str(error).splitlines()[1], 160, placeholder=" ...")
                kind = "learner" if self.kind == "run" else self.kind
                raise UserError(
                    f"the checkpoint does not hold the {kind} of its configuration: {reason}"
                ) from error
        return network, network.encoder if isinstance(network, Learner) else network

    def save_as(self, path: Path, network: nn.Module) -> None:
        """Write a copy of the checkpoint with the state of `network`."""
        state = {name: value.cpu() for name, value in network.state_dict().items()}
        if self.kind == "weights":
            record = {
                "name": self.encoder_name,
                "small_images": self.stem,
                "norm": self.norm_spec and self.norm_spec.setting,
                "image_size": self.trained_size,
                "mean": self.mean,
                "std": self.std,
            }
            save_checkpoint(path, {"encoder": state, "encoder_record": record})
        else:
            save_checkpoint(path, {**self.contents, "learner": state})

    def random_views(self, augment: Any = None) -> Views:
        """Return random views of `augment`, or two default views, as the evaluation normalizes."""
        return make_views(augment, self.view_size, (self.mean, self.std))

    def network_views(self, kind: Literal["train", "plain"]) -> MakeViews:
        """Return a function that makes views as in training, or the evaluation view, from images.

        Its arguments are uint8 images (N, 3, H, W) and a generator.
        """
        if kind == "train":
            return self.random_views(self.settings().augment)
        count = 2 if self.kind == "run" else 1

        def views(images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
            return (self.evaluation_view(images.permute(0, 2, 3, 1)),) * count

        return views

    @property
    def evaluation_view(self) -> "partial[Tensor]":
        """Function from uint8 pixels (B, H, W, 3) to the network's input."""
        return partial(evaluation_view, image_size=self.view_size, mean=self.mean, std=self.std)

    def images(self, limit: int | None = None) -> Splits:
        """Load all or `limit` pretraining images; ignore settings that their source lacks."""
        name = self.data["name"]
        known = {k: v for k, v in self.data.items() if k in known_settings(name)}
        known["image_size"] = self.view_size
        return load_splits(name, **known, limit=limit, seed=self.seed, progress=rank() == 0)

    def labelled_images(self, splits: Splits) -> ProbeImages:
        """Return the labelled images of `splits`, with the evaluation view of the encoder.

        Raises:
            UserError: there are no labels.
        """
        if splits.train is None or splits.test is None:
            raise UserError(
                f"data={self.data['name']} has no labels here, and linear evaluation needs them: "
                "put the images of each class into a separate folder"
            )
        return ProbeImages(splits.train, splits.test, self.evaluation_view)


def find_file(given: str | Path) -> Path:
    """Return the file of `checkpoint=`: the file itself, or last.pt of a run folder.

    Raises:
        UserError: there is no such file.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        if not (path / "last.pt").is_file():
            raise UserError(f"checkpoint={path}: a folder without last.pt; name a run or a file")
        return path / "last.pt"
    if not path.is_file():
        raise UserError(f"checkpoint={path}: there is no such file or run folder")
    return path


def _encoder_record(contents: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded settings of the encoder: the keys of `RECORDED`, and `image_size`.

    For older checkpoints without a record, they are derived from the settings of the run.
    """
    record = contents.get("encoder_record")
    if not isinstance(record, Mapping):
        norm = saved.get("norm", {}).get("encoder", "bn")
        record = _recorded(saved) | {"norm": norm} if saved else {}
    for key, value in record.items():
        if value is not None and not isinstance(value, RECORD_TYPES.get(key, object)):
            raise UserError(f"the encoder_record of the checkpoint is damaged: {key}={value!r}")
    return {key: value for key, value in record.items() if value is not None}


def _recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `RECORDED` that are not null, by the keys of a record."""
    found = {key: settings.get(room, {}).get(name) for key, (room, name) in RECORDED.items()}
    return {key: value for key, value in found.items() if value is not None}


_NORMAL: Mapping[str, Callable[[Any], Any]] = {"norm": parse_norm, "mean": tuple, "std": tuple}


def _changes(trained: Mapping[str, Any], wishes: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Yield a sentence for each setting or library that differs from that of the file.

    Raises:
        UserError: the stem differs, so the weights do not fit.
    """
    for key, value in wishes.items():
        known = trained.get(key)
        normal = _NORMAL.get(key, str)
        if known is None or normal(known) == normal(value):
            continue
        setting = ".".join(RECORDED[key])
        if key == "small_images":
            raise UserError(
                f"{setting}={str(value).lower()}: the encoder in {path} was trained with "
                f"{str(known).lower()}, and its weights fit no other stem; leave the setting out"
            )
        yield f"evaluated with {setting}={value}, trained with {known}"
    library = trained.get("library")
    here = library_of(str({**trained, **wishes}.get("name", "tiny")))
    if library and here and library != here:
        yield f"its encoder was built by {library}, and here by {here}"


def _choose_data(saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the data; a new source keeps only the size of a view."""
    given = {key: value for key, value in given.items() if value is not None}
    if not saved and "name" not in given:
        raise UserError(
            "the checkpoint does not say which data to evaluate on; add data=..., "
            "for example data=folder data.root=..."
        )
    if given.get("name", saved.get("name")) != saved.get("name"):
        saved = {"image_size": saved.get("image_size")}
    return {**saved, **given}


def _view_size(data: Mapping[str, Any]) -> int:
    size: int = data.get("image_size") or default_image_size(data["name"])
    return size
