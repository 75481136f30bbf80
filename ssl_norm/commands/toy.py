"""Classifiers of few labelled samples with bn and ubn: tools/toy.py."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import nan
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from torch import nn

from ssl_norm.console import say, show, track
from ssl_norm.evaluate.record import find_output
from ssl_norm.figures import save_figure
from ssl_norm.norms import NormLike, parse_norm
from ssl_norm.settings.tools import CLASSES, ToySettings
from ssl_norm.text import Statistic, counted, statistic
from ssl_norm.toy.augmentation import Starts, closeness, starting_points
from ssl_norm.toy.classifiers import (
    Recipe,
    accuracies,
    joint_batches,
    std_auroc,
    train_classifier,
)
from ssl_norm.toy.figures import difference_figure, draw_classifiers, gap_figure
from ssl_norm.toy.gap import Gap, gap, layer_values
from ssl_norm.toy.samples import Samples, digits, two_moons

DRAWN = ("bn", "ubn")
ACCURACY = {
    "population": "accuracy in %, population statistics",
    "batch": "batch statistics of all unlabelled samples",
    "auroc": "AUROC in % of the std: wrong against right",
}
DISTANCE = {
    "length": "median length of the move",
    "before": "distance from the data: labelled sample",
    "after": "starting point",
    "random": "random direction",
    "between": "direction between two samples",
}
SHARE = {
    "restored": "starting points found, in %",
    "than_random": "nearer to the data than in a random direction, in %",
    "than_between": "than between two samples",
    "than_opposite": "than in the opposite direction",
}


class Example(NamedTuple):
    """Classifier of the first seed, for the figures."""

    model: nn.Module
    starts: Starts


class Study(NamedTuple):
    """Results of all seeds, by norm."""

    examples: dict[str, Example]  # only bn and ubn
    scores: dict[str, list[dict[str, float]]]
    gaps: dict[str, dict[int, list[list[Gap]]]]  # by labels per class, seed and layer


def toy(config: ToySettings) -> None:
    """Train the classifiers at every seed, draw those of the first seed, and print tables.

    Raises:
        UserError: a figure cannot be written.
        NonFiniteLoss: a loss became NaN or infinite.
    """
    output = find_output(config.output, Path(), "toy.png")
    gap_output = output.with_stem(f"{output.stem}_gap")
    study = train_all(config)
    verdict = comparison(study.scores)
    caption = f"seed {config.seed}; {verdict}"
    samples = samples_of(config, config.seed, config.labels_per_class)
    if config.toy == "digits":
        starts = {norm: example.starts for norm, example in study.examples.items()}
        save_figure(difference_figure(starts, samples.labelled, caption), output)
    else:
        right = {norm: rows[0]["population"] for norm, rows in study.scores.items()}
        draw_classifiers(
            {
                f"{norm}: {right[norm]:.1%} of unlabelled points right": example
                for norm, example in study.examples.items()
            },
            samples,
            output,
            draws=config.draws,
            unlabelled=config.unlabelled_per_step,
            seed=config.seed,
            caption=caption,
        )
    values = {norm: layer_values(found.model, samples) for norm, found in study.examples.items()}
    labels = counted(config.labels_per_class, "label")
    histograms = f"histograms: seed {config.seed}, {labels} a class"
    save_figure(gap_figure(values, study.gaps, histograms), gap_output)
    show(list(tables(config, study)))
    say(verdict, f"written to {output}", f"written to {gap_output}", stderr=False)


def train_all(config: ToySettings) -> Study:
    """Train all norms at every seed; at further numbers of labels only bn and ubn, for gaps."""
    norms: dict[str, NormLike] = {str(parse_norm(config.control)): config.control}
    norms |= {norm: norm for norm in DRAWN}
    study = Study({}, {name: [] for name in norms}, {norm: {} for norm in DRAWN})
    seeds = range(config.seed, config.seed + config.seeds)
    jobs = [(seed, labels) for seed in seeds for labels in config.label_counts]
    for seed, labels in track(jobs, "training", total=len(jobs), step=1, enabled=True):
        samples, recipe = samples_of(config, seed, labels), recipe_of(config, labels)
        is_scored = labels == config.labels_per_class
        for name in norms if is_scored else DRAWN:
            model = train_classifier(norms[name], samples, recipe, seed)
            if name in DRAWN:
                gaps = [gap(values) for values in layer_values(model, samples)]
                study.gaps[name].setdefault(labels, []).append(gaps)
            if not is_scored:
                continue
            row = accuracies(model, samples)
            if name in DRAWN:
                joint = joint_batches(samples, config.unlabelled_per_step, seed)
                batches = list(islice(joint, config.draws))
                starts = starting_points(model, samples.labelled, batches)
                row |= {"auroc": std_auroc(model, samples, batches)}
                row |= closeness(starts, samples.unlabelled, seed)
                study.examples.setdefault(name, Example(model, starts))
            study.scores[name].append(row)
    return study


def samples_of(config: ToySettings, seed: int, labels_per_class: int) -> Samples:
    """Return the samples of a seed."""
    if config.toy == "digits":
        return digits(labels_per_class, config.unlabelled, seed=seed)
    return two_moons(labels_per_class, config.unlabelled, noise=config.noise, seed=seed)


def recipe_of(config: ToySettings, labels_per_class: int) -> Recipe:
    """Return the options of training; a joint batch holds at most all unlabelled samples."""
    joint = round(config.unlabelled_per_step * labels_per_class / config.labels_per_class)
    size, network = min(max(joint, 1), config.unlabelled), (config.hidden_dim, config.layers)
    return Recipe(*network, config.steps, config.lr, size, config.ubn.gradient)


def tables(config: ToySettings, study: Study) -> Iterator[Table]:
    """Yield tables of the accuracies, the starting points and the gaps."""
    seeds = counted(config.seeds, "seed")
    labelled = CLASSES[config.toy] * config.labels_per_class
    sizes = f"{config.unlabelled} unlabelled samples, {labelled} labelled, {seeds}: mean +- sd"
    interval, mean_interval = (
        f"starting points, {seeds}: mean (95 % interval)",
        Statistic.mean_interval,
    )
    for title, columns, norms, text, factor, decimals in (
        (sizes, ACCURACY, list(study.scores), Statistic.mean_sd, 100, 1),
        (interval, SHARE, DRAWN, mean_interval, 100, 1),
        (interval, DISTANCE, DRAWN, mean_interval, 1, 3),
    ):
        table = Table("norm", *columns.values(), title=title, title_justify="left")
        for norm in norms:
            rows = study.scores[norm]
            values = ([factor * row.get(key, nan) for row in rows] for key in columns)
            table.add_row(norm, *(cell(text, found, decimals) for found in values))
        yield table
    title = f"gap in deviations, {seeds}: mean +- sd"
    table = Table(
        "labels a class", "layer", "norm", "labelled from unlabelled", "as many without labels",
        "shift of the mean", title=title, title_justify="left",
    )  # fmt: skip
    for labels, of_seeds in study.gaps[DRAWN[0]].items():
        for layer in range(len(of_seeds[0])):
            for norm, of_norm in study.gaps.items():
                found = zip(*(layers[layer] for layers in of_norm[labels]), strict=True)
                cells = (statistic(values).mean_sd(3) for values in found)
                table.add_row(str(labels), str(layer + 1), norm, *cells)
    yield table


def cell(text: Callable[[Statistic, int], str], values: Sequence[float], decimals: int) -> str:
    """Format values, with their number if some of them are NaN."""
    found = statistic(values)
    some = f" ({counted(found.present, 'seed')})" if found.present and found.missing else ""
    return text(found, decimals) + some


def comparison(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return a sentence on the gain of ubn over bn under population statistics."""
    pairs = zip(*(scores[norm] for norm in DRAWN), strict=True)
    gains = [100 * (ubn["population"] - bn["population"]) for bn, ubn in pairs]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return (
        f"over {counted(len(gains), 'seed')}, ubn is better than bn at {better} "
        f"and worse at {worse}: {statistic(gains).mean_sd(1, '+')} points"
    )
