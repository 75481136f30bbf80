"""Measurements and verdicts of one network, and their form in JSON."""

from dataclasses import dataclass
from math import nan
from typing import Any

from torch import Tensor

from ssl_norm.diagnose.judgement import (
    Judgement,
    collapse_begins_at,
    judge_features,
    judge_projections,
    summary_sentence,
    zones,
)
from ssl_norm.diagnose.outputs import Outputs
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.declare import load_monitor
from ssl_norm.monitors.layers import LayerRow, layer_values
from ssl_norm.monitors.spectral import measure_spectrum, spectral_monitors
from ssl_norm.text import finite_or_none

_Values = dict[str, float]
RANDOM_INIT = (
    "initial weights; batch norms take the statistics of each batch, running ones being of no data"
)
LAYER_VALUES = ("positive_cosine", "negative_cosine", "feature_std", "rank_me")


@dataclass(frozen=True)
class Diagnosis:
    """Measurements and judgement of a network.

    Attributes:
        parts: `projections`, where a projector is known, and `features`: every monitor by name,
            of directions as in a run.
        raw: for the same parts, the spectral measurements of the vectors as they are, which no
            verdict uses.
        judgements: of the same parts.
        layers: a row for each, in the order of the data.
        collapse_begins_at: the first layer after which all have collapsed, up to the last part that
            is judged; None where that has not.
        embeddings: of the same parts, (q, N, D).
    """

    parts: dict[str, _Values]
    raw: dict[str, _Values]
    judgements: dict[str, Judgement]
    layers: list[LayerRow]
    collapse_begins_at: str | None
    embeddings: dict[str, Tensor]

    @property
    def verdict(self) -> str:
        """That of the projections, as in a run; of features that collapsed or have no projector."""
        features = self.judgements["features"].verdict
        if "projections" not in self.judgements or features == "complete":
            return features
        return self.judgements["projections"].verdict

    @property
    def evidence(self) -> str:
        """All findings in one sentence."""
        return summary_sentence(self.judgements, self.collapse_begins_at)


def diagnose_outputs(outputs: Outputs, step: int) -> Diagnosis:
    """Return the diagnosis of a network from its outputs; rows of layers are of `step`."""
    embeddings = {"features": outputs.features}
    if outputs.projections is not None:
        embeddings = {"projections": outputs.projections, **embeddings}
    parts = {name: measure(views) for name, views in embeddings.items()}
    raw = {name: measure_raw(views) for name, views in embeddings.items()}
    judges = {"projections": judge_projections, "features": judge_features}
    judgements = {name: judges[name](values) for name, values in parts.items()}
    layers = [
        LayerRow._make([step, name, *layer_values(*views).tolist(), nan])
        for name, views in outputs.layers.items()
    ]
    judged = [row for row in layers if not row.layer.startswith("predictor")]
    return Diagnosis(parts, raw, judgements, layers, collapse_begins_at(judged), embeddings)


def measure(views: Tensor) -> _Values:
    """Return every monitor by name, and `dimensions`, the upper bound of ranks.

    Monitors of runs get directions, rows of length 1, as from
    :class:`ssl_norm.monitors.CollapseMonitor`; LiDAR, which runs do not measure, gets embeddings as
    they are.

    Args:
        views: (q, N, D) embeddings of q >= 2 views of N images. Monitors of one set of embeddings
            take the first view, those of a pair the first two, LiDAR all.
    """
    in_runs = spectral_monitors()
    measured = measure_spectrum(views[0], [(views[0], views[1])], in_runs).values.tolist()
    spectral = dict(zip(in_runs, measured, strict=True))
    values = {name: spectral[name] if name in spectral else _call(name, views) for name in MONITORS}
    return values | {"dimensions": float(min(views.shape[1] - 1, views.shape[2]))}


def measure_raw(views: Tensor) -> _Values:
    """Return the spectral measurements of the embeddings (q, N, D) with their lengths.

    These are the monitors of a run that do not normalize rows themselves. A few long rows can carry
    nearly all the variance, and so lower these ranks without any collapse of directions.
    """
    return {
        name: _call(name, views)
        for name, function in spectral_monitors().items()
        if function.declaration.prepares in ("nothing", "centres")
    }


def _call(name: str, views: Tensor) -> float:
    """Return the value of a monitor for the inputs that it declares."""
    function = load_monitor(name)
    inputs = function.declaration.inputs
    if inputs == "views":
        return float(function(views.transpose(0, 1)))
    return float(function(*views[: 2 if inputs == "pair" else 1]))


def diagnosis_record(found: Diagnosis, random_init: Diagnosis | None) -> dict[str, Any]:
    """Return the part of diagnosis.json that follows from the measurements; NaN is null."""
    random_rows = {row.layer: row for row in random_init.layers} if random_init else {}
    return {
        "verdict": found.verdict,
        "evidence": found.evidence,
        "collapse_begins_at": found.collapse_begins_at,
        "zones": zones(list(found.parts)),
        **{
            name: {
                "verdict": found.judgements[name].verdict,
                "evidence": found.judgements[name].evidence,
                **_part_record(found, name),
                "random_init": random_init and _part_record(random_init, name),
            }
            for name in found.parts
        },
        "layers": [
            {
                "layer": row.layer,
                **_layer_record(row),
                "random_init": _layer_record(random_rows[row.layer])
                if row.layer in random_rows
                else None,
            }
            for row in found.layers
        ],
    }


def _part_record(found: Diagnosis, name: str) -> dict[str, Any]:
    """Return the measurements of a part: of directions, and under `raw` of the vectors."""
    return {**finite_or_none(found.parts[name]), "raw": finite_or_none(found.raw[name])}


def _layer_record(row: LayerRow) -> dict[str, Any]:
    """Return the values of a layer by name."""
    values: dict[str, Any] = finite_or_none({name: getattr(row, name) for name in LAYER_VALUES})
    return values
