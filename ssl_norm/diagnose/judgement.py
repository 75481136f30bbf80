"""Verdicts, with evidence, for a checkpoint's features, projections and layers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ssl_norm.monitors.evidence import zone_sentence
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.monitors.verdict import Thresholds, Verdict, has_few_dimensions, zone

# Features follow a ReLU and a mean, so that all of them are positive and their cosines are high
# without any collapse: they are judged by their spread around the common direction.
# Measured on CIFAR-10, 200 to 400 images: random networks have a feature std of 0.096 and 0.15
# (torchvision's ResNet-18, initial running statistics, 3x3 and 7x7 stem), 0.17 (MobileNetV2, the
# same), 0.42 to 0.94 (batch statistics or layer norms; ViT, ConvNeXt); trained ones 0.21 (layer
# norms) to 0.69; collapsed projections 0.008.
_COMPLETE_STD = 0.02  # below: complete collapse; a mean cosine of about 0.9996
_SPREAD_STD = 0.05  # above: no complete collapse; a mean cosine of about 0.9975
# Effective ranks of the same features, of their raw vectors: 18.6 of 399 (random ResNet-18, initial
# running statistics) and 10.5 of 128 (trained without norms, 0.25 feature std) are the lowest;
# others 24 to 290. Those of directions, which are judged, are rather higher (186 against 151 of 399
# for a random ResNet-18 with a 7x7 stem).
_FEW_DIMENSIONS = 5.0  # below: dimensional collapse, where ten times as many could be
# Two views of one image are closer than those of different images by this share of the way to 1:
# random networks 0.05 (MobileNetV2) to 0.42, trained ones 0.2 to 0.6.
_CLOSER_VIEWS = 0.01


@dataclass(frozen=True)
class Judgement:
    """A verdict, and its evidence in one sentence."""

    verdict: Verdict
    evidence: str


def judge_features(values: Mapping[str, float]) -> Judgement:
    """Return the verdict on the features of an encoder; `healthy` does not mean useful.

    Args:
        values: of :func:`ssl_norm.diagnose.diagnosis.measure`.

    Returns:
        `complete` where all features have one direction; `dimensional` where wide features vary
        along a few dimensions; `uncertain` between these and `healthy`, or where two views of one
        image are as far apart as different images.
    """
    std, rank, width = values["feature_std"], values["effective_rank"], values["dimensions"]
    apart = 1 - values["negative_cosine"]
    closer = (values["positive_cosine"] - values["negative_cosine"]) / apart if apart else 0.0
    spread = f"feature std {std:.4f}"
    ranks = f"effective rank {rank:.1f} of at most {width:.0f}"
    if std < _COMPLETE_STD:
        return Judgement(
            "complete", f"{spread}, below {_COMPLETE_STD:g}: one direction for all images"
        )
    if has_few_dimensions(values, _FEW_DIMENSIONS):
        return Judgement("dimensional", f"{ranks}, below {_FEW_DIMENSIONS:g}; {spread}")
    if std < _SPREAD_STD:
        between = f"between collapsed ({_COMPLETE_STD:g}) and spread ({_SPREAD_STD:g})"
        return Judgement("uncertain", f"{spread}, {between}; {ranks}")
    if closer < _CLOSER_VIEWS:
        return Judgement(
            "uncertain",
            f"two views of one image (cosine {values['positive_cosine']:.4f}) are no more alike "
            f"than different images ({values['negative_cosine']:.4f})",
        )
    return Judgement("healthy", f"{spread}, {ranks}")


def judge_projections(values: Mapping[str, float]) -> Judgement:
    """Return the verdict on projections, in the zones of pretraining."""
    return Judgement(zone(values, Thresholds()), zone_sentence(values, Thresholds()))


def collapse_begins_at(rows: Sequence[LayerRow]) -> str | None:
    """Return the first layer after which all outputs have one direction; None without one.

    Args:
        rows: in the order of the data. The encoder's stages are judged as features.
    """
    begin = None
    for row in reversed(rows):
        is_stage = row.layer.startswith("encoder")
        collapsed = row.feature_std < _COMPLETE_STD if is_stage else _is_complete(row)
        if not collapsed:
            break
        begin = row.layer
    return begin


def _is_complete(row: LayerRow) -> bool:
    """Whether the layer of a head has collapsed completely."""
    return zone(row._asdict(), Thresholds()) == "complete"


def zones(parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the thresholds that judge each of some parts, `projections` or `features`."""
    of_features = {
        "complete_std": _COMPLETE_STD,
        "spread_std": _SPREAD_STD,
        "dimensional_rank": _FEW_DIMENSIONS,
        "closer_views": _CLOSER_VIEWS,
    }
    found = {"projections": asdict(Thresholds()), "features": of_features}
    return {part: found[part] for part in parts}


def zones_sentence(parts: Sequence[str]) -> str:
    """Return the thresholds that judge each of some parts, in one line."""
    t = Thresholds()
    sentences = {
        "projections": f"projections: complete above negative cosine {t.complete_cosine:g} or "
        f"below feature std {t.complete_std:g}, spread below {t.healthy_cosine:g} and above "
        f"{t.healthy_std:g}, then dimensional below effective rank {t.dimensional_rank:g}",
        "features": f"features: complete below feature std {_COMPLETE_STD:g}, dimensional below "
        f"effective rank {_FEW_DIMENSIONS:g}, spread above feature std {_SPREAD_STD:g}, healthy "
        f"where two views of an image are at least {_CLOSER_VIEWS:.0%} closer than different "
        "images",
    }
    return "; ".join(sentences[part] for part in parts)


def summary_sentence(judgements: Mapping[str, Judgement], begins_at: str | None) -> str:
    """Return the verdicts on all parts in one sentence."""
    found = [f"{part}: {one.verdict} ({one.evidence})" for part, one in judgements.items()]
    if begins_at is not None:
        found.append(f"the collapse begins at layer {begins_at}")
    return "; ".join(found)
