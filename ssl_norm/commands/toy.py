"""Classifiers of two moons with bn and ubn from few labelled points: tools/toy.py."""

from collections.abc import Mapping, Sequence
from itertools import islice
from math import nan
from pathlib import Path

from rich.table import Table
from torch import nn

from ssl_norm.console import say, show, track
from ssl_norm.evaluate.record import find_output
from ssl_norm.norms import NormLike, parse_norm
from ssl_norm.settings.tools import ToySettings
from ssl_norm.text import counted, statistic
from ssl_norm.toy.classifiers import (
    Recipe,
    accuracies,
    joint_batches,
    std_auroc,
    train_classifier,
)
from ssl_norm.toy.picture import draw_classifiers
from ssl_norm.toy.samples import Moons, two_moons

DRAWN = ("bn", "ubn")
COLUMNS = {
    "population": "accuracy in %, population statistics",
    "batch": "batch statistics of all unlabelled points",
    "auroc": "AUROC in % of the std: wrong against right",
}

# For each norm, at each seed: accuracies by kind of statistics, and the AUROC of batch norms.
Scores = Mapping[str, Sequence[Mapping[str, float]]]


def toy(config: ToySettings) -> None:
    """Train the classifiers at every seed, draw those of the first, and print a table over all.

    Raises:
        UserError: the picture cannot be written.
        NonFiniteLoss: a loss became NaN or infinite.
    """
    output = find_output(config.output, Path(), "toy.png")
    models, scores = train_all(config)
    first = {
        f"{norm}: {scores[norm][0]['population']:.1%} of unlabelled points right": models[norm]
        for norm in DRAWN
    }
    verdict = comparison(scores)
    draw_classifiers(
        first,
        moons_of(config, config.seed),
        output,
        draws=config.draws,
        unlabelled=config.unlabelled_per_step,
        seed=config.seed,
        caption=f"seed {config.seed}; {verdict}",
    )
    show([score_table(config, scores)])
    say(verdict, f"written to {output}", stderr=False)


def train_all(config: ToySettings) -> tuple[dict[str, nn.Module], Scores]:
    """Return the classifiers of the first seed, and the scores of all seeds, by norm."""
    norms: dict[str, NormLike] = {str(parse_norm(config.control)): config.control}
    norms |= {norm: norm for norm in DRAWN}
    recipe = Recipe(
        config.hidden_dim,
        config.layers,
        config.steps,
        config.lr,
        config.unlabelled_per_step,
        config.ubn.gradient,
    )
    models: dict[str, nn.Module] = {}
    scores: dict[str, list[Mapping[str, float]]] = {name: [] for name in norms}
    seeds = range(config.seed, config.seed + config.seeds)
    for seed in track(seeds, "training", total=len(seeds), step=1, enabled=True):
        moons = moons_of(config, seed)
        for name, norm in norms.items():
            model = train_classifier(norm, moons, recipe, seed)
            models.setdefault(name, model)
            row = accuracies(model, moons)
            if name in DRAWN:
                batches = joint_batches(moons, recipe.unlabelled, seed)
                row["auroc"] = std_auroc(model, moons, islice(batches, config.draws))
            scores[name].append(row)
    return models, scores


def moons_of(config: ToySettings, seed: int) -> Moons:
    """Return the points of a seed."""
    return two_moons(config.labels_per_class, config.unlabelled, noise=config.noise, seed=seed)


def score_table(config: ToySettings, scores: Scores) -> Table:
    """Return the table of mean scores and standard deviations over the seeds."""
    table = Table(
        title=f"{config.unlabelled} unlabelled points, {2 * config.labels_per_class} labelled, "
        f"{counted(config.seeds, 'seed')}",
        title_justify="left",
    )
    for heading in ("norm", *COLUMNS.values()):
        table.add_column(heading)
    for norm, rows in scores.items():
        table.add_row(norm, *(cell([100 * row.get(key, nan) for row in rows]) for key in COLUMNS))
    return table


def cell(values: Sequence[float]) -> str:
    """Return mean and deviation of the values, and their number if some of them are NaN."""
    found = statistic(values)
    some = f" ({counted(found.present, 'seed')})" if found.present and found.missing else ""
    return found.mean_sd(1) + some


def comparison(scores: Scores) -> str:
    """Return a sentence on the gain of ubn over bn under population statistics."""
    pairs = zip(*(scores[norm] for norm in DRAWN), strict=True)
    gains = [100 * (ubn["population"] - bn["population"]) for bn, ubn in pairs]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return (
        f"over {counted(len(gains), 'seed')}, ubn is better than bn at {better} "
        f"and worse at {worse}: {statistic(gains).mean_sd(1, '+')} points"
    )
