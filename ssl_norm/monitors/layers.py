"""Where a network collapses: the monitors of every stage of an encoder and every layer of its heads."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_norm.models.stages import layers_of
from ssl_norm.monitors.attach.layer_outputs import LayerOutputs
from ssl_norm.monitors.cosine import positive_negative_cosine
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.rank import rank_me
from ssl_norm.monitors.spread import feature_std

__all__ = ["LayerMonitor", "LayerRow", "layer_values", "layers_of"]


class LayerRow(NamedTuple):
    """What a layer's output measures at a step; NaN where it cannot be measured.

    Attributes:
        step: number of the step.
        layer: name of the layer.
        positive_cosine: of two views, in [-1, 1]; 1 at complete collapse.
        negative_cosine: of different images, in [-1, 1]; 1 at complete collapse. After a ReLU all
            values are positive, and cosines are high without any collapse.
        feature_std: in [0, 1]; 0 at complete collapse.
        rank_me: of the directions; 1 to the smaller of images and channels; 1 at complete collapse.
        gradient_norm: l2 norm of the gradients of the layer's parameters.
    """

    step: int
    layer: str
    positive_cosine: float
    negative_cosine: float
    feature_std: float
    rank_me: float
    gradient_norm: float


class LayerMonitor:
    """Measure the layers of a network on early and every k-th step; others cost a look at a flag.

    A collapse may be over in tens of steps, so steps 1, 2, 4, 8, ... below k are measured, too.

    Call `start` before the forward pass of every batch, and `measure` after the last backward pass
    of a step, before the optimizer moves and clears. Two calls of a layer are two views of the same
    images; further ones (local crops, recomputation for checkpointing) are not looked at. Of
    accumulated batches, the last counts; of several processes, each measures its own batch.
    Gradients are measured as they are: with a loss scaler, unscaled first or scaled.

    Args:
        layers: modules by name, for example of :func:`layers_of`.
        every: steps between measurements, at least 1; the early ones are below it.
        first: the first step, which is measured, too, where no rule of :func:`is_due` asks for it.
        joint: whether one call sees both views, first all of view 1 and then all of view 2.

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
        self, layers: Mapping[str, nn.Module], every: int, *, first: int = 1, joint: bool = False
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1 step, got {every}")
        self.every = every
        self.first = first
        self.joint = joint
        self.layers = dict(layers)
        self._outputs = LayerOutputs(layers, most_calls=2)
        self._warned: set[str] = set()

    def due(self, step: int) -> bool:
        """Whether a step is measured."""
        return step == self.first or is_due(step, self.every)

    def start(self, step: int) -> None:
        """Get ready for the forward pass of a batch; forget the batch before."""
        self._outputs.listening = self.due(step)
        if self._outputs.listening:
            self._outputs.clear()

    @torch.no_grad()
    def measure(self, step: int) -> list[LayerRow]:
        """Return a row for each layer that was called since `start`; none on a step that is not due.

        Everything is computed where the tensors are, and comes to the host in one transfer.

        Warns:
            UserWarning: once for layers that get no row, because they were not called or their
                output is no tensor (N, C, ...).
        """
        if not self._outputs.listening:
            return []
        self._outputs.listening = False
        self._warn()
        measured = {
            name: self._measure(self.layers[name], *self._views(calls))
            for name, calls in self._outputs.kept.items()
            if calls
        }
        self._outputs.clear()
        if not measured:
            return []
        device = next(iter(measured.values())).device
        table = torch.stack([values.to(device) for values in measured.values()]).tolist()
        return [LayerRow(step, name, *row) for name, row in zip(measured, table, strict=True)]

    def remove(self) -> None:
        """Take the hooks off the network."""
        self._outputs.remove()
        self._outputs.clear()

    def _views(self, calls: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the outputs (N, C) of view 1 and, where there is one, of view 2."""
        if self.joint and calls[0].shape[0] % 2 == 0:
            first, second = calls[0].chunk(2)
            return first, second
        return calls[0], calls[1] if len(calls) > 1 else None

    def _measure(self, layer: nn.Module, view1: Tensor, view2: Tensor | None) -> Tensor:
        """Return the numbers of a LayerRow, (5,), on the device."""
        values = layer_values(view1, view2)
        return torch.cat([values, gradient_norm(layer).to(values)])

    def _warn(self) -> None:
        """Name the layers that get no row, each once."""
        without = [name for name, calls in self._outputs.kept.items() if not calls]
        new = [name for name in without if name not in self._warned]
        if new:
            self._warned.update(new)
            reasons = (
                f"{name} (its output is a {self._outputs.unpooled[name]})"
                if name in self._outputs.unpooled
                else f"{name} (was not called)"
                for name in new
            )
            warnings.warn(
                f"layers without a tensor (N, C, ...) to measure: {', '.join(reasons)}",
                stacklevel=4,
            )


def is_due(step: int, every: int) -> bool:
    """Whether layers are measured at a step: at multiples of `every`, and at 1, 2, 4, 8, ... below it.

    Example:
        >>> [step for step in range(1, 61) if is_due(step, every=20)]
        [1, 2, 4, 8, 16, 20, 40, 60]
    """
    return step % every == 0 or (0 < step < every and step.bit_count() == 1)


@torch.no_grad()
def layer_values(view1: Tensor, view2: Tensor | None) -> Tensor:
    """Return positive cosine, negative cosine, feature std and RankMe of a layer's pooled outputs.

    Args:
        view1: (N, C), which std and rank are of.
        view2: (N, C) of the same images; None, or another shape: the positive cosine is NaN, and
            the negative one is of the images of view 1.

    Returns:
        (4,) in float64, on the device; at complete collapse 1, 1, 0 and 1. NaN where a value is not
        finite or there is one image only.
    """
    if view1.shape[0] < 2:
        return view1.new_full((4,), torch.nan).double()
    paired = view2 is not None and view2.shape == view1.shape
    positive, negative = positive_negative_cosine(view1, view2 if paired else view1)  # type: ignore[arg-type]
    return torch.stack(
        [
            positive if paired else torch.full_like(positive, torch.nan),
            negative,
            feature_std(view1),
            rank_me(directions(view1)),
        ]
    )


def gradient_norm(layer: nn.Module) -> Tensor:
    """Return the l2 norm of the gradients of a layer's parameters, (1,); NaN where it has none."""
    norms = [
        torch.linalg.vector_norm(p.grad, dtype=torch.promote_types(p.grad.dtype, torch.float32))
        for p in layer.parameters()
        if p.grad is not None
    ]
    if not norms:
        return torch.full((1,), torch.nan)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm.reshape(1)
