"""Adapters of norms: other axis orders, activations, and torch's transformer layers."""

from typing import Any

from torch import Tensor, nn

NO_FUSED_KERNEL = 0  # of `activation_relu_or_gelu`, which only the choice of a kernel reads


class AroundNorm(nn.Module):
    """Base of layers that hold a norm as `norm`; their state_dict has the keys of the norm.

    So a checkpoint fits the model whether or not a norm in it is wrapped.

    Args:
        norm: the norm.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.register_state_dict_post_hook(_lift_keys)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_lower_keys)  # type: ignore[no-untyped-call]


class NormAct(AroundNorm):
    """Norm, then dropout, then activation, like timm's BatchNormAct2d.

    Args:
        norm: the norm.
        drop: dropout; nn.Identity for none.
        act: activation; nn.Identity for none.
    """

    def __init__(self, norm: nn.Module, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(norm)
        self.drop = drop
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of the normalized input."""
        y: Tensor = self.act(self.drop(self.norm(x)))
        return y


class ChannelsLast(AroundNorm):
    """A norm of (N, C, *spatial) tensors applied to (N, *spatial, C) ones, such as ViT's tokens.

    Args:
        norm: the norm; its space is all axes but that of the samples and the last.
        sample_axis: axis of the samples: 0, or 1 in sequence-first (L, N, C) tokens.
    """

    sample_axis = 0

    def __init__(self, norm: nn.Module, sample_axis: int = 0) -> None:
        super().__init__(norm)
        self.sample_axis = sample_axis

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        y: Tensor = self.norm(x.movedim((self.sample_axis, -1), (0, 1)))
        return y.movedim((0, 1), (self.sample_axis, -1))


class PerPosition(AroundNorm):
    """A norm of the last axis applied to axis 1 of (N, C, *spatial), like timm's LayerNorm2d."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized input."""
        y: Tensor = self.norm(x.movedim(1, -1))
        return y.movedim(-1, 1)


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
    children = {name for name, _ in layer.named_children()}
    for key in [key for key in state if key.startswith(prefix)]:
        name = key.removeprefix(prefix)
        if name.partition(".")[0] not in children:
            state[f"{prefix}norm.{name}"] = state.pop(key)


def call_norms(parent: nn.Module) -> None:
    """Make a transformer layer of torch call its norms in evaluation mode as well.

    Its fused kernel reads eps, weight and bias of any norm and computes layer norm.
    """
    if isinstance(parent, nn.TransformerEncoderLayer):
        parent.activation_relu_or_gelu = NO_FUSED_KERNEL
