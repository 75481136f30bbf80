"""Watching a training run for collapse."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_norm.monitors.cosine import cosines_of_directions
from ssl_norm.monitors.directions import directions
from ssl_norm.monitors.spread import std_of_directions
from ssl_norm.monitors.verdict import Verdict, VerdictState, advance


class Measurement(NamedTuple):
    """What one step's embeddings measure; at complete collapse 1, 1 and 0."""

    positive_cosine: float
    negative_cosine: float
    feature_std: float


class CollapseMonitor:
    """Measure the embeddings of every step, and say whether they have collapsed.

    `observe` measures on the device and never waits for it; `collect`, called now and then, brings
    all measurements since the last call to the host at once and moves the verdict on over each
    step. A step is collapsed when its negative cosine is above the threshold, or when its feature
    std is 0 (rows of zeros have no cosine). See :func:`ssl_norm.monitors.verdict.advance` for how
    steps make a verdict.

    Args:
        threshold: negative cosine in [-1, 1) above which embeddings are collapsed. A randomly
            initialized network may lie above it for its first steps, hence the patience.
        patience: steps in a row that change the verdict, at least 1.

    Example:
        >>> monitor = CollapseMonitor()
        >>> for step in range(1, 21):  # any training loop
        ...     online, target = torch.ones(8, 4), torch.ones(8, 4)
        ...     monitor.observe(step, ((online, target),))
        >>> row = monitor.collect()  # positive_cosine, negative_cosine, feature_std
        >>> monitor.verdict, monitor.collapsed_at_step
        ('complete', 1)
    """

    def __init__(self, threshold: float = 0.99, patience: int = 20) -> None:
        if not -1 <= threshold < 1:
            raise ValueError(f"threshold must be a cosine in [-1, 1), got {threshold}")
        if patience < 1:
            raise ValueError(f"patience must be at least 1 step, got {patience}")
        self.threshold = threshold
        self.patience = patience
        self._state = VerdictState()
        self._on_device: list[tuple[int, Tensor]] = []
        self._on_host: list[Measurement] = []
        self._last: dict[str, float] = {}

    @property
    def verdict(self) -> Verdict:
        """State of the representation, as of the last `collect`."""
        return self._state.verdict

    @property
    def collapsed_at_step(self) -> int | None:
        """Step at which the present collapse began; None while there is none."""
        return self._state.collapsed_at_step

    @torch.no_grad()
    def observe(self, step: int, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Measure the embeddings of one step, in O(N D).

        Args:
            step: number of the step, as `collapsed_at_step` is to name it.
            pairs: (online, target) embeddings, each (N >= 2, D), row i of both from image i.
                Measurements are means over the pairs; the feature std is that of the online ones.

        Raises:
            ValueError: another shape.
        """
        measured = torch.stack([_measure(online, target) for online, target in pairs])
        self._on_device.append((step, measured.mean(0)))

    def collect(self) -> dict[str, float]:
        """Return each measurement's mean over the steps since the last call.

        Returns:
            positive_cosine, negative_cosine, feature_std (1, 1 and 0 at complete collapse). Where
            no step came in between, the same as the last time; empty before the first step.
        """
        self._fetch()
        if self._on_host:
            count = len(self._on_host)
            sums = (sum(column) for column in zip(*self._on_host, strict=True))
            means = (total / count for total in sums)
            self._last = dict(zip(Measurement._fields, means, strict=True))
            self._on_host.clear()
        return dict(self._last)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a run needs to go on exactly, as plain numbers and lists."""
        self._fetch()
        return {
            "verdict": list(self._state),
            "measurements": [list(measurement) for measurement in self._on_host],
            "last": dict(self._last),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; threshold and patience stay this monitor's."""
        self._state = VerdictState(*state["verdict"])
        self._on_device = []
        self._on_host = [Measurement(*values) for values in state["measurements"]]
        self._last = dict(state["last"])

    def _fetch(self) -> None:
        """Bring pending measurements to the host in one transfer, and judge each step."""
        if not self._on_device:
            return
        steps, tensors = zip(*self._on_device, strict=True)
        self._on_device = []
        for step, values in zip(steps, torch.stack(tensors).tolist(), strict=True):
            measurement = Measurement(*values)
            above = measurement.negative_cosine > self.threshold
            collapsed = above or measurement.feature_std == 0
            self._state = advance(self._state, step, collapsed, self.patience)
            self._on_host.append(measurement)


def _measure(online: Tensor, target: Tensor) -> Tensor:
    """Return the fields of a Measurement, (3,), on the device of the embeddings."""
    z, z_target = directions(online, "online"), directions(target, "target")
    return torch.stack([*cosines_of_directions(z, z_target), std_of_directions(z)])
