"""Freezing of the statistics of batch norms.

`requires_grad_(False)` freezes no statistics, and `eval()` holds only until the next `train()`.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ssl_norm.norms.swap.find import BATCH_NORMS, norm_kinds


class FrozenStatistics:
    """Mixin of the class of a batch norm with frozen statistics.

    `training` is always False, so that the layer normalizes with its population statistics and
    never updates them. The mode that was last requested is kept for a norm that replaces the layer.
    A hook would not do: a direct call of `forward`, and code compiled earlier, skip hooks.
    """

    thawed_class: type[nn.Module]

    @property
    def training(self) -> bool:
        """Return whether batch statistics are used: never."""
        return False

    @training.setter
    def training(self, mode: bool) -> None:
        self.__dict__["training"] = mode

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Tell copy and pickle how to build the layer: they cannot find its class by name."""
        reduced = super().__reduce_ex__(max(protocol, 2))
        assert isinstance(reduced, tuple)
        _, (_, *arguments), *state = reduced
        return (_new_frozen, (self.thawed_class, *arguments), *state)


@contextmanager
def evaluation_mode(model: nn.Module, but: Collection[nn.Module] = ()) -> Iterator[None]:
    """Put a model into evaluation mode, except for the modules in `but`; restore all modes on exit.

    Modes are read from the instances, because the property of a frozen layer is always False.
    """
    modes = [(part, vars(part).get("training", part.training)) for part in model.modules()]
    try:
        for part, _ in modes:
            part.training = part in but
        yield
    finally:
        for part, mode in modes:
            part.training = mode


_FROZEN_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _frozen_class(kind: type[nn.Module]) -> type[nn.Module]:
    if kind not in _FROZEN_CLASSES:
        # torch.fx does not trace into layers whose class is in torch.nn.
        content = {"thawed_class": kind, "__module__": kind.__module__}
        name = f"FrozenStatistics{kind.__name__}"
        _FROZEN_CLASSES[kind] = type(name, (FrozenStatistics, kind), content)
    return _FROZEN_CLASSES[kind]


def _new_frozen(kind: type[nn.Module], *arguments: Any) -> nn.Module:
    frozen = _frozen_class(kind)
    return frozen.__new__(frozen, *arguments)


def freezable_statistics(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every batch norm of a model, each layer once, to be frozen.

    Raises:
        ValueError: there is none, or one without population statistics in evaluation.
    """
    layers: list[tuple[str, nn.Module]] = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, BATCH_NORMS)
    ]
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no batch norm to freeze; its norms: {norm_kinds(model)}"
        )
    for name, layer in layers:
        if not list(layer.buffers(recurse=False)):
            raise ValueError(f"layer '{name}' keeps no population statistics that could be frozen")
        if getattr(layer, "evaluation", "population") != "population":
            raise ValueError(
                f"layer '{name}' evaluates with batch statistics; "
                "to freeze its statistics, build it with evaluation=population"
            )
    return layers


def freeze_statistics(model: nn.Module) -> tuple[str, ...]:
    """Freeze the population statistics of every batch norm, and return the names of the layers.

    A frozen layer always normalizes with them, also after `train()`, in copies and in pickles. Only
    the class of a layer changes, in place: parameters, buffers, names, hooks and state_dict keys
    stay, and the affine parameters continue to learn. A state_dict that is loaded sets the
    statistics. `replace_norms` keeps layers frozen; `convert_sync_batchnorm` does not.

    Raises:
        ValueError: see :func:`freezable_statistics`.

    Source: FrozenBN of Wu & Johnson, "Rethinking Batch in BatchNorm", arXiv 2105.07576, section 3.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
        >>> freeze_statistics(model), model.train()[1].training
        (('1',), False)
    """
    layers = freezable_statistics(model)
    for _, layer in layers:
        if not isinstance(layer, FrozenStatistics):
            layer.__class__ = _frozen_class(type(layer))
    return tuple(name for name, _ in layers)
