"""Measurements of one network, the verdicts on them with evidence, and their JSON record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from math import nan
from typing import Any

from torch import Tensor

from ssl_norm.diagnosis.outputs import Outputs
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.declare import load_monitor, load_monitors
from ssl_norm.monitors.layers import LayerRow, layer_values
from ssl_norm.monitors.spectral import measure_spectrum, spectral_monitors
from ssl_norm.monitors.verdict import Thresholds, Verdict, has_few_dimensions, zone, zone_sentence
from ssl_norm.text import finite_or_none


@dataclass(frozen=True)
class FeatureThresholds:
    """Thresholds of the verdict on features.

    Features follow a ReLU and a mean, so they are positive and their cosines are high even without
    collapse. Therefore the verdict depends on their spread around the common direction. Feature std
    on 200 to 400 images of CIFAR-10: random networks have 0.096 and 0.15 (torchvision's ResNet-18
    with initial running statistics and a 3x3 or 7x7 stem), 0.17 (MobileNetV2, the same statistics),
    and 0.42 to 0.94 (batch statistics or layer norms; ViT, ConvNeXt); trained networks have 0.21
    (layer norms) to 0.69; collapsed projections have 0.008.

    The lowest effective ranks of the same features, without L2 normalization, are 18.6 of 399
    (random ResNet-18, initial running statistics) and 10.5 of 128 (trained without norms, 0.25
    feature std); others are 24 to 290. With L2 normalization, on which the verdict depends, they
    are higher (186 instead of 151 of 399 for a random ResNet-18 with a 7x7 stem).
    """

    complete_std: float = 0.02  # below: complete collapse; a mean cosine of about 0.9996
    spread_std: float = 0.05  # above: no complete collapse; a mean cosine of about 0.9975
    # below: dimensional collapse, if ten times this rank is possible
    dimensional_rank: float = 5.0
    # (positive cosine - negative cosine) / (1 - negative cosine) must reach this value; random
    # networks have 0.05 (MobileNetV2) to 0.42, and trained networks 0.2 to 0.6.
    closer_views: float = 0.01


FEATURES, PROJECTIONS = FeatureThresholds(), Thresholds()


@dataclass(frozen=True)
class Judgement:
    """A verdict, and its evidence in one sentence."""

    verdict: Verdict
    evidence: str


def judge_features(values: Mapping[str, float]) -> Judgement:
    """Return the verdict on features by their :func:`measure`; `healthy` features may be useless.

    Returns:
        `complete`: all features have one direction; `dimensional`: wide features vary along few
        dimensions; `uncertain`: between these and `healthy`, or two views of one image are as far
        apart as different images.
    """
    std, rank, width = values["feature_std"], values["effective_rank"], values["dimensions"]
    apart = 1 - values["negative_cosine"]
    closer = (values["positive_cosine"] - values["negative_cosine"]) / apart if apart else 0.0
    spread = f"feature std {std:.4f}"
    ranks = f"effective rank {rank:.1f} of at most {width:.0f}"
    if std < FEATURES.complete_std:
        one = f"below {FEATURES.complete_std:g}: one direction for all images"
        return Judgement("complete", f"{spread}, {one}")
    if has_few_dimensions(values, FEATURES.dimensional_rank):
        return Judgement("dimensional", f"{ranks}, below {FEATURES.dimensional_rank:g}; {spread}")
    if std < FEATURES.spread_std:
        between = (
            f"between collapsed ({FEATURES.complete_std:g}) and spread ({FEATURES.spread_std:g})"
        )
        return Judgement("uncertain", f"{spread}, {between}; {ranks}")
    if closer < FEATURES.closer_views:
        return Judgement(
            "uncertain",
            f"two views of one image (cosine {values['positive_cosine']:.4f}) are no more alike "
            f"than different images ({values['negative_cosine']:.4f})",
        )
    return Judgement("healthy", f"{spread}, {ranks}")


def judge_projections(values: Mapping[str, float]) -> Judgement:
    """Return the verdict on projections, with the thresholds of pretraining."""
    return Judgement(zone(values, PROJECTIONS), zone_sentence(values, PROJECTIONS))


def collapse_begins_at(rows: Sequence[LayerRow]) -> str | None:
    """Return the first layer such that it and all later ones have collapsed, or None.

    Rows are in the order of layers. The thresholds of features apply to the encoder's stages.
    """

    def is_complete(row: LayerRow) -> bool:
        if row.layer.startswith("encoder"):
            return row.feature_std < FEATURES.complete_std
        return zone(row._asdict(), PROJECTIONS) == "complete"

    collapsed = [row.layer for row in takewhile(is_complete, reversed(rows))]
    return collapsed[-1] if collapsed else None


_Values = dict[str, float]
RANDOM_INIT = "initial weights; batch norms use batch statistics, as running ones saw no data"
LAYER_VALUES = LayerRow._fields[2:-1]  # cosines, feature std and RankMe


@dataclass(frozen=True)
class Diagnosis:
    """Measurements and judgement of a network."""

    # every monitor by name for `features`, and for `projections` if there is a known projector
    parts: dict[str, _Values]
    # for the same parts, spectral measurements without L2 normalization, which no verdict uses
    raw: dict[str, _Values]
    judgements: dict[str, Judgement]  # verdicts on the same parts
    layers: list[LayerRow]  # a row for each layer, in order
    # the first layer such that it and all later ones, without the predictor, have collapsed
    collapse_begins_at: str | None
    embeddings: dict[str, Tensor]  # outputs of the same parts, (q, N, D)

    @property
    def verdict(self) -> str:
        """The verdict on features if they collapsed or are the only part, else on projections."""
        features = self.judgements["features"].verdict
        if "projections" not in self.judgements or features == "complete":
            return features
        return self.judgements["projections"].verdict

    @property
    def evidence(self) -> str:
        """All findings in one sentence."""
        found = [f"{part}: {one.verdict} ({one.evidence})" for part, one in self.judgements.items()]
        if self.collapse_begins_at is not None:
            found.append(f"the collapse begins at layer {self.collapse_begins_at}")
        return "; ".join(found)


def diagnose_outputs(outputs: Outputs, step: int) -> Diagnosis:
    """Return the diagnosis of a network from its outputs; rows of layers get the given `step`."""
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

    Views (q, N, D) are L2-normalized as in :class:`ssl_norm.monitors.CollapseMonitor`, except for
    LiDAR, which runs do not measure. Monitors of one set of embeddings use the first
    view, monitors of pairs use the first two, and LiDAR uses all.
    """
    in_runs = spectral_monitors()
    measured = measure_spectrum(views[0], [(views[0], views[1])], in_runs).values.tolist()
    spectral = dict(zip(in_runs, measured, strict=True))
    names = [name for name, one in load_monitors().items() if one.declaration.inputs != "tokens"]
    values = {name: spectral[name] if name in spectral else _call(name, views) for name in names}
    return values | {"dimensions": float(min(views.shape[1] - 1, views.shape[2]))}


def measure_raw(views: Tensor) -> _Values:
    """Return the spectral measurements of embeddings (q, N, D) without L2 normalization.

    These are the spectral monitors that do not L2-normalize rows themselves. A few long rows can
    have nearly all of the variance and reduce these ranks although nothing has collapsed.
    """
    return {
        name: _call(name, views)
        for name, function in spectral_monitors().items()
        if function.declaration.prepares in ("nothing", "centres")
    }


def _call(name: str, views: Tensor) -> float:
    function = load_monitor(name)
    with MONITORS.blaming(name, function):
        if function.declaration.inputs == "views":
            return float(function(views.transpose(0, 1)))
        return float(function(*views[: 2 if function.declaration.inputs == "pair" else 1]))


def diagnosis_record(found: Diagnosis, random_init: Diagnosis | None) -> dict[str, Any]:
    """Return the measurements and verdicts for diagnosis.json, in which NaN is null."""
    thresholds = {"projections": asdict(PROJECTIONS), "features": asdict(FEATURES)}

    def part(diagnosis: Diagnosis, name: str) -> dict[str, Any]:
        return {**diagnosis.parts[name], "raw": diagnosis.raw[name]}

    def layer(row: LayerRow) -> dict[str, float]:
        return {name: getattr(row, name) for name in LAYER_VALUES}

    random_rows = {row.layer: layer(row) for row in random_init.layers} if random_init else {}
    record: dict[str, Any] = {
        "verdict": found.verdict,
        "evidence": found.evidence,
        "collapse_begins_at": found.collapse_begins_at,
        "zones": {name: thresholds[name] for name in found.parts},
    }
    for name, judgement in found.judgements.items():
        record[name] = {**asdict(judgement), **part(found, name)}
        record[name]["random_init"] = random_init and part(random_init, name)
    record["layers"] = [
        {"layer": row.layer, **layer(row), "random_init": random_rows.get(row.layer)}
        for row in found.layers
    ]
    return dict(finite_or_none(record))
