"""Everything that is found of one network, and its form in JSON."""

from dataclasses import dataclass
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
from ssl_norm.diagnose.measure import measure, measure_layers, measure_raw
from ssl_norm.diagnose.outputs import Outputs
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.text import finite_or_none

Values = dict[str, float]
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
        raw: of the same parts, the spectral measurements of the vectors as they are; no verdict
            goes by them.
        judgements: of the same parts.
        layers: a row for each, in the order of the data.
        collapse_begins_at: the first of the layers from which on all have collapsed, up to the last
            part that is judged; None where that has not.
        embeddings: of the same parts, (q, N, D).
    """

    parts: dict[str, Values]
    raw: dict[str, Values]
    judgements: dict[str, Judgement]
    layers: list[LayerRow]
    collapse_begins_at: str | None
    embeddings: dict[str, Tensor]

    @property
    def verdict(self) -> str:
        """Of the projections, as a run's; of the features where no projector is known, or they too have collapsed."""
        features = self.judgements["features"].verdict
        if "projections" not in self.judgements or features == "complete":
            return features
        return self.judgements["projections"].verdict

    @property
    def evidence(self) -> str:
        """All that was found in one sentence."""
        projections = self.judgements.get("projections")
        return summary_sentence(self.judgements["features"], projections, self.collapse_begins_at)


def diagnose_outputs(outputs: Outputs, step: int) -> Diagnosis:
    """Return the diagnosis of a network from its outputs; rows of layers are of `step`."""
    embeddings = {"features": outputs.features}
    if outputs.projections is not None:
        embeddings = {"projections": outputs.projections, **embeddings}
    parts = {name: measure(views) for name, views in embeddings.items()}
    raw = {name: measure_raw(views) for name, views in embeddings.items()}
    judgements = {"features": judge_features(parts["features"])}
    if "projections" in parts:
        judgements["projections"] = judge_projections(parts["projections"])
    layers = measure_layers(outputs, step)
    judged = [row for row in layers if not row.layer.startswith("predictor")]
    return Diagnosis(parts, raw, judgements, layers, collapse_begins_at(judged), embeddings)


def diagnosis_record(found: Diagnosis, random_init: Diagnosis | None) -> dict[str, Any]:
    """Return the content of diagnosis.json as far as it follows from the measurements; NaN is null."""
    random_rows = {} if random_init is None else {row.layer: row for row in random_init.layers}
    return {
        "verdict": found.verdict,
        "evidence": found.evidence,
        "collapse_begins_at": found.collapse_begins_at,
        "zones": zones(list(found.parts)),
        **{
            name: {
                "verdict": found.judgements[name].verdict,
                "evidence": found.judgements[name].evidence,
                **part_record(found, name),
                "random_init": random_init and part_record(random_init, name),
            }
            for name in found.parts
        },
        "layers": [
            {
                "layer": row.layer,
                **finite_or_none(layer_values(row)),
                "random_init": finite_or_none(layer_values(random_rows[row.layer]))
                if row.layer in random_rows
                else None,
            }
            for row in found.layers
        ],
    }


def part_record(found: Diagnosis, name: str) -> dict[str, Any]:
    """Return the measurements of a part: of directions, and under `raw` those of the vectors as they are."""
    return {**finite_or_none(found.parts[name]), "raw": finite_or_none(found.raw[name])}


def layer_values(row: LayerRow) -> Values:
    """Return what is measured of a layer at rest, by name."""
    return {name: getattr(row, name) for name in LAYER_VALUES}
