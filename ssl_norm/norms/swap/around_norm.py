"""Layers around a norm that the keys of a state_dict do not show."""

from typing import Any

from torch import Tensor, nn


class AroundNorm(nn.Module):
    """Base of layers that hold a norm as `norm`; the state_dict has the norm's keys one level up.

    So a checkpoint fits the model whether or not a norm in it is wrapped.

    Args:
        norm: the norm.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.register_state_dict_post_hook(_lift_keys)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_lower_keys)  # type: ignore[no-untyped-call]


def unwrapped(layer: nn.Module) -> nn.Module:
    """Return the norm inside any layers around it."""
    while isinstance(layer, AroundNorm):
        layer = layer.norm
    return layer


def _lift_keys(layer: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Take `norm.` out of the names of what the norm saved."""
    lower = f"{prefix}norm."
    for key in [key for key in state if key.startswith(lower)]:
        state[prefix + key.removeprefix(lower)] = state.pop(key)


def _lower_keys(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Put `norm.` into the names of what the norm loads."""
    beside = {name for name, _ in layer.named_children()}
    for key in [key for key in state if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        if name.partition(".")[0] not in beside:
            state[f"{prefix}norm.{name}"] = state.pop(key)
