"""One word on features, projections and layers of a network at rest, each with its evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ssl_norm.monitors.evidence import zone_sentence
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.monitors.verdict import Thresholds, Verdict, has_few_dimensions, zone

# Features follow a ReLU and a mean, so that all of them are positive and their cosines are high
# without any collapse: they are judged by what is left around the common direction.
# Measured on CIFAR-10, 200 to 400 images: random networks have a feature std of 0.096 and 0.15
# (torchvision's ResNet-18, initial running statistics, 3x3 and 7x7 stem), 0.17 (MobileNetV2, the
# same), 0.42 to 0.94 (batch statistics or layer norms; ViT, ConvNeXt); trained ones 0.21 (layer
# norms) to 0.69; collapsed projections 0.008.
FEATURES_COMPLETE_STD = 0.02  # below: complete collapse; a mean cosine of about 0.9996
FEATURES_SPREAD_STD = 0.05  # above: no complete collapse; a mean cosine of about 0.9975
# Effective ranks of the same features, of their raw vectors: 18.6 of 399 (random ResNet-18, initial
# running statistics) and 10.5 of 128 (trained without norms, 0.25 feature std) are the lowest;
# others 24 to 290. Those of directions, which are judged, are rather higher (186 against 151 of 399
# for a random ResNet-18 with a 7x7 stem).
FEW_DIMENSIONS = 5.0  # below: dimensional collapse, where ten times as many could be
# Two views of one image are closer than those of different images by this share of the way to 1:
# random networks 0.05 (MobileNetV2) to 0.42, trained ones 0.2 to 0.6.
TELLS_IMAGES_APART = 0.01


@dataclass(frozen=True)
class Judgement:
    """A verdict and the measurements behind it, in one sentence."""

    verdict: Verdict
    evidence: str


def judge_features(values: Mapping[str, float]) -> Judgement:
    """Return whether the features of an encoder have collapsed; healthy is no claim that they are useful.

    Args:
        values: of :func:`ssl_norm.diagnose.measure.measure`.

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
    if std < FEATURES_COMPLETE_STD:
        return Judgement(
            "complete", f"{spread}, below {FEATURES_COMPLETE_STD:g}: one direction for all images"
        )
    if has_few_dimensions(values, FEW_DIMENSIONS):
        return Judgement("dimensional", f"{ranks}, below {FEW_DIMENSIONS:g}; {spread}")
    if std < FEATURES_SPREAD_STD:
        zones = (
            f"between collapsed ({FEATURES_COMPLETE_STD:g}) and spread ({FEATURES_SPREAD_STD:g})"
        )
        return Judgement("uncertain", f"{spread}, {zones}; {ranks}")
    if closer < TELLS_IMAGES_APART:
        return Judgement(
            "uncertain",
            f"two views of one image (cosine {values['positive_cosine']:.4f}) are no more alike than "
            f"different images ({values['negative_cosine']:.4f})",
        )
    return Judgement("healthy", f"{spread}, {ranks}")


def judge_projections(
    values: Mapping[str, float], thresholds: Thresholds | None = None
) -> Judgement:
    """Return whether projections have collapsed, in the zones that pretraining uses."""
    thresholds = thresholds or Thresholds()
    return Judgement(zone(values, thresholds), zone_sentence(values, thresholds))


def collapse_begins_at(
    rows: Sequence[LayerRow], thresholds: Thresholds | None = None
) -> str | None:
    """Return the first layer from which on all outputs have one direction; None where the last has not.

    Args:
        rows: in the order of the data, up to the last output that is looked at.
        thresholds: of the heads; the encoder's stages are judged as features.
    """
    begin = None
    for row in reversed(rows):
        if not _has_collapsed(row, thresholds or Thresholds()):
            break
        begin = row.layer
    return begin


def _has_collapsed(row: LayerRow, thresholds: Thresholds) -> bool:
    if row.layer.startswith("encoder"):
        return row.feature_std < FEATURES_COMPLETE_STD
    return zone(row._asdict(), thresholds) == "complete"


def zones(
    parts: Sequence[str], thresholds: Thresholds | None = None
) -> dict[str, dict[str, float]]:
    """Return the thresholds that judge `projections` and `features`, as far as they are among the parts."""
    of_features = {
        "complete_std": FEATURES_COMPLETE_STD,
        "spread_std": FEATURES_SPREAD_STD,
        "dimensional_rank": FEW_DIMENSIONS,
        "closer_views": TELLS_IMAGES_APART,
    }
    found = {"projections": asdict(thresholds or Thresholds()), "features": of_features}
    return {part: found[part] for part in parts}


def zones_sentence(parts: Sequence[str], thresholds: Thresholds | None = None) -> str:
    """Return the same in one line."""
    t = thresholds or Thresholds()
    said = {
        "projections": f"projections: complete above negative cosine {t.complete_cosine:g} or below "
        f"feature std {t.complete_std:g}, spread below {t.healthy_cosine:g} and above "
        f"{t.healthy_std:g}, then dimensional below effective rank {t.dimensional_rank:g}",
        "features": f"features: complete below feature std {FEATURES_COMPLETE_STD:g}, dimensional below effective "
        f"rank {FEW_DIMENSIONS:g}, spread above feature std {FEATURES_SPREAD_STD:g}, healthy where two "
        f"views of an image are at least {TELLS_IMAGES_APART:.0%} closer than different images",
    }
    return "; ".join(said[part] for part in parts)


def summary_sentence(
    features: Judgement, projections: Judgement | None, begins_at: str | None
) -> str:
    """Return what was found of all parts in one sentence."""
    found = [f"features: {features.verdict} ({features.evidence})"]
    if projections is not None:
        found.insert(0, f"projections: {projections.verdict} ({projections.evidence})")
    if begins_at is not None:
        found.append(f"the collapse begins at layer {begins_at}")
    return "; ".join(found)
