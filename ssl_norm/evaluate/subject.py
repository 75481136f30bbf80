"""What an evaluation is about: the word of the checkpoint, overridden by that of the user."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ssl_norm.config import (
    AugmentConfig,
    DataConfig,
    DataOverride,
    EncoderConfig,
    NormConfig,
    PretrainConfig,
    SubjectConfig,
)
from ssl_norm.data.augment import check_normalisation
from ssl_norm.errors import UserError
from ssl_norm.options import replace

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """An encoder as it was trained, and the images that it is evaluated on.

    Attributes:
        encoder: name and stem.
        norm: of the encoder; None: the architecture's own.
        trained_size: side in pixels of the views it was trained on, which may decide its stem.
        mean: of the pixels, per colour in [0, 1].
        std: of the pixels, per colour in [0, 1].
        data: where the images come from; its `view_size` is what the encoder sees.
        seed: of the random initialisation and, where no file names the test part, of the split.
    """

    encoder: EncoderConfig
    norm: Any
    trained_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: DataConfig
    seed: int


def find_subject(config: SubjectConfig, saved: Mapping[str, Any] | None) -> Subject:
    """Return what to evaluate.

    Args:
        config: what the user typed; null stands for the checkpoint's word.
        saved: the configuration in the checkpoint; None where it holds weights only.

    Raises:
        UserError: neither says which encoder or which data, or a colour's mean or deviation is out of range.
    """
    saved = saved or {}
    if not saved and config.encoder.name is None:
        raise UserError(
            "the checkpoint does not say which encoder it holds; add encoder.name=..., "
            "for example encoder.name=resnet50"
        )
    encoder = _restore(EncoderConfig, saved.get("encoder", {}))
    norm = config.norm.encoder
    if norm is None and saved:
        norm = _restore(NormConfig, saved.get("norm", {})).encoder
    pixels = _overlay(_restore(AugmentConfig, saved.get("augment", {})), config.augment)
    check_normalisation(pixels.mean, pixels.std)
    saved_data = _restore(DataConfig, saved["data"]) if saved else None
    data = _choose_data(config.data, saved_data)
    return Subject(
        encoder=_overlay(encoder, config.encoder),
        norm=norm,
        trained_size=(saved_data or data).view_size,
        mean=tuple(pixels.mean),
        std=tuple(pixels.std),
        data=data,
        seed=saved.get("seed", config.seed),
    )


def _choose_data(given: DataOverride, saved: DataConfig | None) -> DataConfig:
    """Return the data to evaluate on; of the saved, other data keep the size of a view only."""
    if saved is None and given.name is None:
        raise UserError(
            "the checkpoint does not say which data to evaluate on; add data=..., "
            "for example data=folder data.root=..."
        )
    base = saved or DataConfig()
    if given.name not in (None, base.name):
        base = DataConfig(image_size=base.image_size)
    # A limit is about pretraining images; evaluation takes all labelled ones.
    return replace(_overlay(base, given), limit=None)


def _restore(kind: type[T], saved: Mapping[str, Any]) -> T:
    """Return a dataclass from a saved mapping; what one of them does not know is left out."""
    names = kind.model_fields  # type: ignore[attr-defined]
    return kind(**{name: value for name, value in saved.items() if name in names})


def _overlay(base: T, override: object) -> T:
    """Return `base` with every value of `override` that is not None."""
    given = {name: value for name, value in vars(override).items() if value is not None}
    return replace(base, **given)


def run_of_subject(run: PretrainConfig, subject: Subject) -> PretrainConfig:
    """Return a run's configuration with the encoder, norm and pixels of what is evaluated."""
    pixels: dict[str, Any] = {"mean": subject.mean, "std": subject.std}
    return replace(
        run,
        encoder=replace(subject.encoder, pretrained_path=None),
        norm=replace(run.norm, encoder=subject.norm),
        augment=replace(run.augment, **pixels),
    )
