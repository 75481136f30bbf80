"""An evaluation as linear_eval.json and as a table."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from ssl_norm.config import LinearEvalConfig
from ssl_norm.evaluate.protocol import Evaluation
from ssl_norm.evaluate.subject import Subject
from ssl_norm.norms import parse_norm


def evaluation_record(
    config: LinearEvalConfig, subject: Subject, trained: Evaluation, random_init: Evaluation | None
) -> dict[str, Any]:
    """Return the content of linear_eval.json as far as it follows from settings and results.

    Accuracies are fractions in [0, 1]; null where there is none: `top5` of five classes or fewer, a
    class without test images, the random initialisation where it was not evaluated.
    """
    return {
        "top1": trained.top1,
        "top1_random_init": random_init and random_init.top1,
        "top5": trained.top5,
        "top5_random_init": random_init and random_init.top5,
        "knn_top1": trained.knn_top1,
        "knn_top1_random_init": random_init and random_init.knn_top1,
        "rank_me": trained.rank_me,
        "rank_me_random_init": random_init and random_init.rank_me,
        "chance": trained.chance,
        "per_class": trained.per_class,
        "inverse_strength": trained.inverse_strength,
        **probe_settings(config, subject, trained.labels),
    }


def record_name(stem: str, network: str) -> str:
    """Return the name of the JSON that a result of a network is written to."""
    return f"{stem}_target.json" if network == "target" else f"{stem}.json"


def step_record(step: int, found: Evaluation) -> dict[str, Any]:
    """Return what linear_eval_steps.json has of one step."""
    names = ("top1", "top5", "knn_top1", "rank_me", "inverse_strength")
    return {"step": step, **{name: getattr(found, name) for name in names}}


def probe_settings(config: LinearEvalConfig, subject: Subject, labels: int) -> dict[str, Any]:
    """Return what was probed and how."""
    return {
        "protocol": config.protocol,
        "labels": labels,
        "label_fraction": config.labels,
        "sgd": config.sgd.model_dump() if config.protocol == "sgd" else None,
        "knn": {"k": min(config.knn.k, labels), "temperature": config.knn.temperature},
        "encoder": subject.encoder.name,
        "norm": None if subject.norm is None else str(parse_norm(subject.norm)),
        "data": {
            "name": subject.data.name,
            "root": subject.data.root,
            "image_size": subject.data.image_size,
        },
        "seed": config.seed,
    }


def evaluation_table(trained: Evaluation, random_init: Evaluation | None) -> Table:
    """Return a short table: accuracies beside random initialisation and chance, extreme classes."""
    table = Table(title=f"frozen encoder, {trained.labels:,} labels")
    table.add_column("")
    for column in ("trained", "random init", "chance"):
        table.add_column(column, justify="right")
    rows = [
        ("linear top-1", trained.top1, random_init and random_init.top1, trained.chance),
        ("linear top-5", trained.top5, random_init and random_init.top5, None),
        ("kNN top-1", trained.knn_top1, random_init and random_init.knn_top1, trained.chance),
    ]
    ranked = sorted(
        ((name, value) for name, value in trained.per_class.items() if value is not None),
        key=lambda entry: entry[1],
    )
    for place, (name, value) in (("best", ranked[-1]), ("worst", ranked[0])):
        rows.append(
            (
                f"{place} class: {escape(name)}",
                value,
                random_init and random_init.per_class[name],
                None,
            )
        )
    for label, *values in rows:
        if values[0] is not None:
            table.add_row(label, *("" if value is None else f"{value:.4f}" for value in values))
    return table
