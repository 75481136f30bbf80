"""Forward hooks on layers, and monitors of encoder stages and head layers."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.models.stages import layers_of
from ssl_norm.monitors.embeddings import pool
from ssl_norm.monitors.layout import layout_of
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.rank import rank_me
from ssl_norm.monitors.similarity import positive_negative_cosine
from ssl_norm.monitors.spread import feature_std
from ssl_norm.names import at_least

Layout = str | Callable[[Sequence[int]], str | None] | None

__all__ = ["LayerMonitor", "LayerRow", "layer_values", "layers_of"]


class LayerRow(NamedTuple):
    """Measurements of a layer's output at one step; NaN where there is none.

    After a ReLU all values are positive, and cosines are high without any collapse.
    """

    step: int
    layer: str
    positive_cosine: float  # 1 at complete collapse
    negative_cosine: float  # 1 at complete collapse
    feature_std: float  # 0 at complete collapse
    rank_me: float  # of L2-normalized outputs, up to min(images, channels); 1 at complete collapse
    gradient_norm: float  # l2 norm of the gradients of the layer's parameters


class LayerMonitor:
    """Measure the layers of a network at early steps and at every k-th step.

    A collapse may take only tens of steps, so steps 1, 2, 4, 8, ... below k are measured as well.
    At other steps the hooks only test a flag.

    Call `start` before the forward pass of every batch, and `measure` after the last backward pass
    of a step, before the optimizer updates weights and clears gradients. Two calls of a layer are
    two views of the same images; further calls (local crops, recomputation for checkpointing) are
    ignored. The last of several accumulated batches counts; each process measures its own batch.
    Gradients include the factor of a loss scaler, unless it was removed before.

    Args:
        layers: modules by name, for example of :func:`layers_of`.
        every: k, steps between measurements, at least 1.
        joint: whether one call sees both views, first all of view 1 and then all of view 2.
        layouts: axes of the outputs of layers by name, as `{"stage1": "NHWC"}`; the others are
            derived from the modules, see :func:`ssl_norm.monitors.layout.layout_of`.

    Example:
        >>> encoder, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), torch.randn(8, 3, 2, 2)
        >>> monitor = LayerMonitor(layers_of(encoder), every=10)
        >>> for step in range(1, 3):
        ...     monitor.start(step)
        ...     (encoder(images) * encoder(images)).sum().backward()
        ...     for row in monitor.measure(step):
        ...         print(row.step, row.layer, round(row.positive_cosine, 3))
        1 encoder.1 1.0
        1 encoder 1.0
        2 encoder.1 1.0
        2 encoder 1.0
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        every: int,
        *,
        joint: bool = False,
        layouts: Mapping[str, str] | None = None,
    ) -> None:
        self.every = at_least(1, every=every)
        self.joint = joint
        self.layers = dict(layers)
        self._outputs = LayerOutputs(layers, most_calls=2, layouts=layouts)
        self._warned: set[str] = set()

    def due(self, step: int) -> bool:
        """Return whether a step is a multiple of `every`, or 1, 2, 4, 8, ... below it."""
        return step % self.every == 0 or (0 < step < self.every and step.bit_count() == 1)

    def start(self, step: int) -> None:
        """Prepare for the forward pass of a batch; drop the previous batch."""
        self._outputs.listening = self.due(step)
        if self._outputs.listening:
            self._outputs.clear()

    @torch.no_grad()
    def measure(self, step: int) -> list[LayerRow]:
        """Return a row for each layer called since `start`; none on a step that is not due.

        Everything is computed on the device of the tensors, and copied to the host at once.

        Warns:
            UserWarning: once per layer that was not called or whose output has no known layout.
        """
        if not self._outputs.listening:
            return []
        self._outputs.listening = False
        self._warn()
        measured = {}
        for name, calls in self._outputs.kept.items():
            if calls:
                views = list(calls[0].chunk(2)) if self.joint and len(calls[0]) % 2 == 0 else calls
                values = layer_values(views[0], views[1] if len(views) > 1 else None)
                norm = gradient_norm(self.layers[name])
                norm = values.new_full((1,), torch.nan) if norm is None else norm.to(values)
                measured[name] = torch.cat([values, norm])
        self._outputs.clear()
        if not measured:
            return []
        device = next(iter(measured.values())).device
        table = torch.stack([values.to(device) for values in measured.values()]).tolist()
        return [LayerRow(step, name, *row) for name, row in zip(measured, table, strict=True)]

    def remove(self) -> None:
        """Remove the hooks from the network."""
        self._outputs.remove()
        self._outputs.clear()

    def _warn(self) -> None:
        """Warn once about each layer that gets no row."""
        unpooled = self._outputs.unpooled
        without = {
            name: f"its output is {unpooled[name]}" if name in unpooled else "not called"
            for name, calls in self._outputs.kept.items()
            if not calls and name not in self._warned
        }
        if without:
            self._warned.update(without)
            reasons = ", ".join(f"{name} ({reason})" for name, reason in without.items())
            warnings.warn(f"layers without an output to measure: {reasons}", stacklevel=4)


@torch.no_grad()
def layer_values(view1: Tensor, view2: Tensor | None) -> Tensor:
    """Return positive cosine, negative cosine, feature std and RankMe of a layer's pooled outputs.

    Std and rank are those of view 1, (N, C). If view 2 is None or has another shape, the positive
    cosine is NaN, and the negative cosine compares the images of view 1.

    Returns:
        (4,) in float64, on the device; at complete collapse 1, 1, 0 and 1. NaN if a value is not
        finite or there is only one image.
    """
    if view1.shape[0] < 2:
        return view1.new_full((4,), torch.nan).double()
    other = view2 if view2 is not None and view2.shape == view1.shape else None
    positive, negative = positive_negative_cosine(view1, view1 if other is None else other)
    positive = torch.full_like(positive, torch.nan) if other is None else positive
    return torch.stack([positive, negative, feature_std(view1), rank_me(directions(view1))])


def gradient_norm(layer: nn.Module) -> Tensor | None:
    """Return the l2 norm of the gradients of a layer's parameters, (1,); None without any."""
    norms = [
        torch.linalg.vector_norm(p.grad, dtype=torch.promote_types(p.grad.dtype, torch.float32))
        for p in layer.parameters()
        if p.grad is not None
    ]
    return torch.linalg.vector_norm(torch.stack(norms)).reshape(1) if norms else None


def pooled(output: Any, layout: Layout = None) -> Tensor | None:
    """Return one vector per image (N, C) from a layer's output: a copy, in float32 or wider.

    A tensor with more axes is averaged over all but images and channels. From a tuple, list, dict
    or dataclass, the first tensor of two axes or more is taken. The result is None if there is no
    such tensor of floating-point numbers, or its layout (`NCHW`, or a function of its shape) is
    unknown.
    """
    tensor = _first_tensor(output)
    if tensor is None or not tensor.is_floating_point():
        return None
    tensor = tensor.detach()
    if tensor.ndim == 2:
        wide = torch.promote_types(tensor.dtype, torch.float32)
        return tensor.to(wide, copy=True)  # an in-place activation may follow
    axes = layout(tensor.shape) if callable(layout) else layout
    return None if axes is None or len(axes) != tensor.ndim else pool(tensor, axes)


def _first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor with two axes or more of a nested output; None without one."""
    if isinstance(output, Tensor):
        return output if output.ndim > 1 else None
    parts = vars(output) if is_dataclass(output) else output
    if isinstance(parts, Mapping):
        parts = parts.values()
    elif not isinstance(parts, tuple | list):
        return None
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)


def _why(output: Any, name: str) -> str:
    """Describe an output that cannot be pooled to vectors."""
    tensor = _first_tensor(output)
    if tensor is None or tensor.ndim < 3:
        return f"a {type(output).__name__}"
    axes = "N" + "HWD"[: tensor.ndim - 2] + "C"
    return f"{tuple(tensor.shape)} with unknown axes; name them with layouts={{'{name}': '{axes}'}}"


class LayerOutputs:
    """Forward hooks that keep the outputs of layers while `listening`; otherwise they test a flag.

    Copies of the network (deepcopy, pickle) have hooks that do nothing. Of each layer the first
    `most_calls` calls are kept; None: all.

    Attributes:
        listening: whether outputs are kept.
        kept: pooled outputs (N, C) of the calls of each layer since `clear`, by name.
        unpooled: descriptions of outputs that cannot be pooled, by name of the layer.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        most_calls: int | None = None,
        layouts: Mapping[str, str] | None = None,
    ) -> None:
        self.listening = False
        self._layouts: dict[str, Layout] = {
            **{name: partial(layout_of, layer) for name, layer in layers.items()},
            **(layouts or {}),
        }
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
        rows = pooled(output, self._layouts[name])
        if rows is None:
            self.unpooled[name] = _why(output, name)
        else:
            calls.append(rows)

    def clear(self) -> None:
        """Drop all outputs."""
        self.kept = {name: [] for name in self.kept}

    def remove(self) -> None:
        """Remove the hooks from the network, but keep the outputs."""
        self.listening = False
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> "LayerOutputs":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class _Hook:
    """A layer's forward hook; in copies of the layer it does nothing."""

    def __init__(self, outputs: LayerOutputs | None = None, name: str = "") -> None:
        self._outputs = outputs
        self._name = name

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self._outputs is not None and self._outputs.listening:
            if getattr(layer, "_is_replica", False):
                raise ValueError(
                    f"nn.DataParallel runs copies of {self._name} in threads, and their outputs "
                    "have no order: use DistributedDataParallel"
                )
            self._outputs.keep(self._name, output)

    def __reduce__(self) -> tuple[type["_Hook"], tuple[()]]:
        return _Hook, ()
