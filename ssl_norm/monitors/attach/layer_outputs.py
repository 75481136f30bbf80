"""Forward hooks that keep the outputs of layers, pooled to one vector per image."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def pooled(output: Any) -> Tensor | None:
    """Return one vector per image from a layer's output: a copy, detached, in float32 or wider.

    Args:
        output: (N, C) as is; (N, T, C): the mean over tokens; (N, C, H, W) or (N, H, W, C), told
            by the two equal sides: the mean over space; (N, C, ...): the mean over all further
            axes. Of a tuple, list or dict, the first tensor.

    Returns:
        (N, C), or None where there is no floating tensor of two dimensions or more.
    """
    tensor = _first_tensor(output)
    if tensor is None or tensor.ndim < 2 or not tensor.is_floating_point():
        return None
    tensor = tensor.detach()
    wide = torch.promote_types(tensor.dtype, torch.float32)
    if tensor.ndim == 2:
        return tensor.to(wide, copy=True)  # an activation in place may follow
    if tensor.ndim == 3:
        return tensor.mean(1, dtype=wide)
    _, first, second, third = tensor.shape[:4]
    channels_last = tensor.ndim == 4 and first == second != third
    axes = (1, 2) if channels_last else tuple(range(2, tensor.ndim))
    return tensor.mean(axes, dtype=wide)


def _first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor of a nested output; None without one."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    if not isinstance(output, Mapping | tuple | list):
        return None
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)


class LayerOutputs:
    """Forward hooks that keep the outputs of layers while `listening`, and else only test a flag.

    Copies of the network (deepcopy, pickle) have hooks that do nothing.

    Args:
        layers: modules by name.
        most_calls: number of calls of a layer that are kept, from the first; None: all.

    Attributes:
        listening: whether outputs are kept.
        kept: by name, the pooled outputs (N, C) of its calls since `clear`.
        unpooled: by name, the type of outputs that :func:`pooled` cannot pool.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        >>> with LayerOutputs({"conv": network[0]}) as outputs:
        ...     outputs.listening = True
        ...     _ = network(torch.zeros(2, 3, 8, 8))
        >>> [tuple(output.shape) for output in outputs.kept["conv"]]
        [(2, 4)]
    """

    def __init__(self, layers: Mapping[str, nn.Module], most_calls: int | None = None) -> None:
        self.listening = False
        self._most_calls = most_calls
        self.kept: dict[str, list[Tensor]] = {name: [] for name in layers}
        self.unpooled: dict[str, str] = {}
        self._handles = [
            layer.register_forward_hook(_Hook(self, name)) for name, layer in layers.items()
        ]

    def keep(self, name: str, output: Any) -> None:
        """Keep the output of one call of a layer."""
        calls = self.kept[name]
        if self._most_calls is not None and len(calls) >= self._most_calls:
            return
        rows = pooled(output)
        if rows is None:
            self.unpooled[name] = type(output).__name__
        else:
            calls.append(rows)

    def clear(self) -> None:
        """Drop all outputs."""
        self.kept = {name: [] for name in self.kept}

    def remove(self) -> None:
        """Remove the hooks from the network; kept outputs stay."""
        self.listening = False
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> "LayerOutputs":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class _Hook:
    """A layer's forward hook; its copies, which copies of the layer have, do nothing."""

    def __init__(self, outputs: LayerOutputs | None = None, name: str = "") -> None:
        self._outputs = outputs
        self._name = name

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self._outputs is not None and self._outputs.listening:
            self._outputs.keep(self._name, output)

    def __reduce__(self) -> tuple[type["_Hook"], tuple[()]]:
        return _Hook, ()
