"""The names of all learners and what each consists of; needs no torch, so that errors are quick."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_norm.learners.learner import Learner


@dataclass(frozen=True)
class MethodEntry:
    """One learner.

    Attributes:
        target: `module:class` of the learner.
        predictor: whether a second head predicts the target, so that `norm.predictor` matters.
        queue: whether keys of earlier batches are kept.
    """

    target: str
    predictor: bool
    queue: bool

    def load(self) -> "type[Learner]":
        """Return the learner's class; this imports torch."""
        module_name, _, class_name = self.target.partition(":")
        learner_class: type[Learner] = getattr(import_module(module_name), class_name)
        return learner_class


METHODS: Mapping[str, MethodEntry] = MappingProxyType(
    {
        "byol": MethodEntry(
            "ssl_norm.learners.byol:BYOL",
            predictor=True,
            queue=False,
        ),
        "simclr": MethodEntry(
            "ssl_norm.learners.simclr:SimCLR",
            predictor=False,
            queue=False,
        ),
        "moco_v2": MethodEntry(
            "ssl_norm.learners.moco_v2:MoCoV2",
            predictor=False,
            queue=True,
        ),
    }
)
