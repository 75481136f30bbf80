"""Monitor of collapse in a training run."""

from collections import deque
from collections.abc import Iterable
from copy import copy
from itertools import chain
from math import isnan, nan
from operator import itemgetter
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_norm.distributed import gather_batch
from ssl_norm.monitors.embeddings import Pair, views_of, without_broken_rows
from ssl_norm.monitors.layers import LayerMonitor, LayerRow
from ssl_norm.monitors.normalized import directions, matching_directions
from ssl_norm.monitors.similarity import cosines_of_directions
from ssl_norm.monitors.spectral import (
    RecentRows,
    Spectral,
    measure_spectrum,
    spectral_monitors,
    token_monitors,
)
from ssl_norm.monitors.spread import std_of_directions
from ssl_norm.monitors.trend import (
    Trend,
    advance_pinned,
    advance_trend,
    loss_constants,
    trend_of,
    trend_values,
)
from ssl_norm.monitors.verdict import (
    PATIENCE,
    PinnedLoss,
    Thresholds,
    Verdict,
    VerdictState,
    advance,
    evidence,
    zone,
)
from ssl_norm.names import at_least

_STEPS_ON_DEVICE = 1000  # largest number of steps whose measurements wait for `collect`
_SNAPSHOTS_KEPT = 1000  # limit for loops that never take the snapshots
_LAYER_ROWS_KEPT = 100_000  # limit for loops that never take the rows
# Attributes that a state holds as they are.
_PLAIN = ("step", "observed", "restarts", "constants", "pinned", "means", "shown", "spectral")


class _Measurement(NamedTuple):
    """Measurements of one step; the first three are 1, 1 and 0 at complete collapse."""

    positive_cosine: float
    negative_cosine: float
    feature_std: float
    loss: float
    broken: float = 0.0  # share of rows with NaN or infinity


class _Judged(NamedTuple):
    """Measurements of one step, the latest ones of the spectrum, the trend, and their zone."""

    zone: Verdict
    measured: _Measurement
    spectral: dict[str, float]
    trend: Trend


class Snapshot(NamedTuple):
    """Spectrum of the recent L2-normalized embeddings at one step."""

    step: int
    spectrum: list[float]  # eigenvalues of the covariance, descending
    deviations: list[float]  # standard deviation of each dimension


class CollapseMonitor:
    """Measure the embeddings of every step, and judge whether they have collapsed.

    `observe` measures on the device and does not wait for it. Every `spectral_every` steps it also
    measures the spectrum of the last `buffer_size` embeddings, by all monitors that declare
    `in_runs`. Every monitor gets L2-normalized embeddings. `collect` copies all measurements since
    the last call to the host at once, and updates the verdict with each step; see
    :mod:`ssl_norm.monitors.verdict`. If a loop never calls it, `observe` does so every 1,000 steps.

    Args:
        thresholds: thresholds of the zones of the verdict.
        patience: consecutive steps in another zone before the verdict changes, at least 1. A
            randomly initialized network may look collapsed for its first steps.
        spectral_every: steps between measurements of the spectrum, at least 1.
        buffer_size: recent embeddings whose spectrum is measured; several times their width.
        loss_at_collapse: loss of a constant embedding, for the evidence; see
            :func:`ssl_norm.losses.cross_entropy_at_collapse`.
        gather: gather the embeddings of all ranks first; false if they are already global.
        layers: hooks on layers, which measure at the steps that are due.

    Example:
        >>> monitor = CollapseMonitor()
        >>> for step in range(1, 21):  # any training loop
        ...     online, target = torch.ones(8, 4), torch.ones(8, 4)
        ...     monitor.observe(step, ((online, target),))
        >>> row = monitor.collect()  # positive_cosine, negative_cosine, feature_std, rank_me, ...
        >>> monitor.verdict, monitor.collapsed_at_step
        ('complete', 1)
        >>> monitor.evidence.rpartition("; ")[2]
        'collapsed for 20 steps'
    """

    def __init__(
        self,
        thresholds: Thresholds | None = None,
        patience: int = PATIENCE,
        *,
        spectral_every: int = 20,
        buffer_size: int = 1024,
        loss_at_collapse: float | None = None,
        gather: bool = False,
        layers: LayerMonitor | None = None,
    ) -> None:
        self.thresholds = thresholds or Thresholds()
        self.patience = at_least(1, patience=patience)
        self.spectral_every = at_least(1, spectral_every=spectral_every)
        self.loss_at_collapse = loss_at_collapse
        self.gather = gather
        self.layers = layers
        self._monitors, self._of_tokens = spectral_monitors(), token_monitors()
        self._recent = RecentRows(at_least(2, buffer_size=buffer_size))
        self._state, self._trend = VerdictState(), Trend()
        self._constants: dict[str, float] = {}
        self._pinned: dict[str, int] = {}
        self._observed = 0
        self._step = 0  # the latest judged step
        self._latest = 0  # the latest observed step
        self._restarts = 0  # added to step numbers that started again
        self._on_device: list[tuple[int, Tensor, Spectral | None]] = []
        self._judged: list[_Judged] = []
        self._means: dict[str, float] = {}
        self._shown: dict[str, float] = {}
        self._spectral: dict[str, float] = {}
        self._snapshots: deque[Snapshot] = deque(maxlen=_SNAPSHOTS_KEPT)
        self._layer_rows: deque[LayerRow] = deque(maxlen=_LAYER_ROWS_KEPT)
        self.start(1)

    @property
    def verdict(self) -> Verdict:
        """Verdict on the embeddings at the last `collect`."""
        return self._state.verdict

    @property
    def is_settled(self) -> bool:
        """Return whether the latest collected step is in the zone of the verdict."""
        return self._state.candidate is None

    @property
    def collapsed_at_step(self) -> int | None:
        """Step at which the present collapse, complete or dimensional, began; None without one."""
        return self._state.collapsed_at_step

    @property
    def evidence(self) -> str:
        """The measurements behind the verdict at the last `collect`, in one sentence.

        These are means over those steps of the last `collect` that are in the zone of the verdict,
        or over all its steps if the verdict is uncertain. If the mean is outside the zone, the
        latest step inside is taken; if no step is inside, the values of an earlier `collect`.
        """
        return evidence(
            self._state,
            self._step,
            self._telling(),
            self.thresholds,
            self.patience,
            self._nearest_constant(),
        )

    def start(self, step: int) -> None:
        """Prepare the hooks on layers for a batch; needed only if a step has several batches."""
        if self.layers:
            self.layers.start(self._numbered(step))

    def _numbered(self, step: int) -> int:
        """Return the number of a step in the run, continuing the count if numbers start again."""
        if step + self._restarts < self._latest:
            self._restarts = self._latest + 1 - step
        return step + self._restarts

    @torch.inference_mode(False)  # a call may be the first outside of inference mode
    @torch.no_grad()
    def observe(
        self,
        step: int,
        embeddings: Any,
        loss: Tensor | float | None = None,
        *,
        target: Any = None,
        crops: int = 1,
        layout: str | None = None,
        negatives: Tensor | None = None,
    ) -> None:
        """Measure the embeddings of one step, in O(N D) on ordinary steps.

        Call it between backward and the optimizer's step, so that layers have their gradients.
        Cosines are means over all pairs of views; all other values are measured on the first view.
        Tokens also get the monitors of tokens. Rows with NaN or infinity are excluded, and counted
        in the evidence.

        Args:
            step: number of the step, from 1, as in `collapsed_at_step`. If numbers start again, as
                in every epoch, the count continues.
            embeddings: pairs [(online, target)], each (N >= 2, D), row i of both from image i; one
                (N, D); or any other form of :func:`ssl_norm.monitors.embeddings.views_of`, which
                also explains `target`, `crops` and `layout`. The positive cosine of a single view
                without a target is NaN.
            loss: scalar, for the evidence.
            target: views of the target network.
            crops: number of views in each tensor of the online network.
            layout: axes of the tensors, as `NCL`.
            negatives: (K, D), further negatives, such as an embedding queue or prototypes; O(K D).
        """
        step = self._numbered(step)
        views = views_of(embeddings, target, crops=crops, layout=layout)
        pairs, tokens = views.pairs, views.tokens
        if self.gather:
            pairs = [(gather_batch(online), gather_batch(target)) for online, target in pairs]
        pairs, measured, broken = _measure_whole(pairs, negatives)
        if not views.matched:
            measured[0].fill_(nan)
        ends = torch.stack([_scalar(loss, measured), broken.to(measured)])
        further = 0 if negatives is None else len(negatives)
        count, width = pairs[0][0].shape
        self._constants = loss_constants(count, width, further)
        if self.loss_at_collapse is not None:
            self._constants["the loss of a constant embedding"] = self.loss_at_collapse
        rows = self._recent.add(pairs[0][0])
        due = self._observed % self.spectral_every == 0
        monitors = self._monitors if tokens is None else self._monitors | self._of_tokens
        spectral = measure_spectrum(rows, pairs, monitors, tokens) if due else None
        self._on_device.append((step, torch.cat([measured, ends]), spectral))
        self._observed += 1
        self._latest = step
        if len(self._on_device) >= _STEPS_ON_DEVICE:
            self._fetch()
        if self.layers:
            self._layer_rows.extend(self.layers.measure(step))
            self.layers.start(step + 1)

    def collect(self) -> dict[str, float]:
        """Return the measurements since the last call; this waits for the device.

        They are means of positive_cosine, negative_cosine and feature_std (1, 1 and 0 at complete
        collapse) over the steps since the last call, and the latest value of every other monitor of
        runs, from rows without NaN. A monitor that a resumed run has not measured yet is NaN.
        Without a new step the values do not change; before the first step the result is empty.
        """
        self._fetch()
        if self._judged:
            self._means = _mean(step.measured for step in self._judged)
            self._shown = self._telling()
            self._judged.clear()
        shown = ("positive_cosine", "negative_cosine", "feature_std")
        means = {name: value for name, value in self._means.items() if name in shown}
        known = [*self._monitors] if self._spectral else []
        known += [name for name in self._of_tokens if name in self._spectral]
        return means | {name: self._spectral.get(name, nan) for name in known}

    def take_snapshots(self) -> list[Snapshot]:
        """Return the snapshots of `collect` since the last call, at most the last 1,000."""
        taken = list(self._snapshots)
        self._snapshots.clear()
        return taken

    def take_layer_rows(self) -> list[LayerRow]:
        """Return the rows of layers since the last call, at most the last 100,000."""
        taken = list(self._layer_rows)
        self._layer_rows.clear()
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a run needs to resume exactly, as plain values and tensors."""
        self._fetch()
        return {name: copy(getattr(self, f"_{name}")) for name in _PLAIN} | {
            "verdict": list(self._state),
            "judged": [
                [step.zone, list(step.measured), step.spectral, list(step.trend)]
                for step in self._judged
            ],
            "trend": list(self._trend),
            "recent": self._recent.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`; thresholds and intervals are unchanged."""
        for name in state.keys() & set(_PLAIN):  # early checkpoints have fewer
            setattr(self, f"_{name}", copy(state[name]))
        self._state = VerdictState(*state["verdict"])
        self._latest = self._step
        self._on_device = []
        self._judged = [
            _Judged(found, _Measurement(*measured), spectral, trend_of(chain(*trend)))
            for found, measured, spectral, *trend in state.get("judged", [])
        ]
        self._trend = trend_of(state.get("trend", ()))
        self._recent.load_state_dict(state["recent"])
        self.start(self._step + 1 - self._restarts)

    def _fetch(self) -> None:
        """Copy pending measurements to the host, and judge each step."""
        if not self._on_device:
            return
        pending, self._on_device = self._on_device, []
        rows = torch.stack([values for _, values, _ in pending]).tolist()
        for (step, _, spectral), values in zip(pending, rows, strict=True):
            if spectral is not None:
                self._take_in(step, spectral)
            self._judge(step, _Measurement(*values))

    def _judge(self, step: int, measured: _Measurement) -> None:
        limits, cosines = self.thresholds, measured[:2]
        self._trend = advance_trend(self._trend, step, *cosines, limits.collapsing_window)
        known = self._known(measured._asdict(), self._spectral, self._trend)
        found = zone(known, limits)
        self._state = advance(self._state, step, found, self.patience)
        self._step = step
        self._judged.append(_Judged(found, measured, self._spectral, self._trend))
        self._pinned = advance_pinned(
            self._pinned, step, measured.loss, self._constants, limits.pinned_loss
        )

    def _nearest_constant(self) -> PinnedLoss | None:
        """Return the known constant near which the loss has been for the longest time."""
        if not self._pinned:
            return None
        name, since = min(self._pinned.items(), key=itemgetter(1))
        return PinnedLoss(name, self._constants[name], self._step - since + 1)

    def _take_in(self, step: int, spectral: Spectral) -> None:
        """Copy one measurement of the spectrum to the host; NaN does not replace earlier values."""
        values = dict(zip(spectral.names, spectral.values.tolist(), strict=True))
        spectrum = spectral.spectrum.tolist()
        if not isnan(values["effective_rank"]) or not self._spectral:
            before = self._spectral.get("effective_rank", values["effective_rank"])
            extent = {"dimensions": float(len(spectrum)), "effective_rank_before": before}
            self._spectral = values | extent
        self._snapshots.append(Snapshot(step, spectrum, spectral.deviations.tolist()))

    def _known(
        self, measured: dict[str, float], spectral: dict[str, float], trend: Trend
    ) -> dict[str, float]:
        """Return the values that decide the zone.

        The rank is the larger of the last two, so that a single low value has no effect.
        """
        latest = spectral.get("effective_rank", nan)
        limits = self.thresholds
        course = trend_values(trend, limits.complete_cosine, limits.collapsing_window)
        before = {"collapsing": float(self.verdict == "collapsing")}
        known = measured | spectral | course | before | {"latest_effective_rank": latest}
        known["effective_rank"] = max(latest, spectral.get("effective_rank_before", latest))
        if self.loss_at_collapse is not None:
            known["loss_at_collapse"] = self.loss_at_collapse
        return known

    def _telling(self) -> dict[str, float]:
        inside = [step for step in self._judged if self.verdict in (step.zone, "uncertain")]
        if not inside:
            return self._shown
        _, latest, spectral, trend = inside[-1]
        means = self._known(_mean(step.measured for step in inside), spectral, trend)
        if self.verdict in (zone(means, self.thresholds), "uncertain"):
            return means
        return self._known(latest._asdict(), spectral, trend)


def _mean(measurements: Iterable[_Measurement]) -> dict[str, float]:
    rows = list(measurements)
    # Steps with one view have no positive cosine.
    pairs = [row.positive_cosine for row in rows if not isnan(row.positive_cosine)]
    columns = dict(zip(_Measurement._fields, zip(*rows, strict=True), strict=True))
    columns["positive_cosine"] = tuple(pairs) or (nan,)
    return {name: fmean(values) for name, values in columns.items()}


def _measure_whole(
    pairs: list[Pair], negatives: Tensor | None
) -> tuple[list[Pair], Tensor, Tensor]:
    """Return pairs and mean measurements (3,) without broken rows, and the share of these rows."""
    if pairs[0][0].device.type == "cpu":  # a test for NaN makes only an accelerator wait
        measured = torch.stack([_measure(*pair, negatives) for pair in pairs]).mean(0)
        if measured.isfinite().all():
            return pairs, measured, torch.zeros(())
    whole = [without_broken_rows(online, target) for online, target in pairs]
    pairs = [(online, target) for (online, target), _ in whole]
    measured = torch.stack([_measure(*pair, negatives) for pair in pairs]).mean(0)
    return pairs, measured, whole[0][1]


def _measure(online: Tensor, target: Tensor, negatives: Tensor | None) -> Tensor:
    """Return both cosines and the feature std, (3,), on the device of the embeddings."""
    z, z_target = matching_directions(online, target)
    positive, negative = cosines_of_directions(z, z_target)
    if negatives is not None:
        further = directions(negatives.detach(), "negatives").mean(0)
        in_batch, more = len(z) - 1, len(negatives)
        negative = (in_batch * negative + more * (z.mean(0) @ further.to(z))) / (in_batch + more)
    return torch.stack([positive, negative, std_of_directions(z).mean()])


def _scalar(loss: Tensor | float | None, like: Tensor) -> Tensor:
    """Return a loss as a scalar on the device of `like`, NaN for None."""
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"loss must be a scalar, got a tensor of shape {tuple(loss.shape)}")
        return loss.detach().reshape(()).to(like)
    return like.new_full((), nan if loss is None else float(loss))
