"""Small invented run folders of tools/finetune.py: two arms, three label counts, three seeds."""

import json

from omegaconf import OmegaConf

from tests.reporting.run_folders import ENVIRONMENT, write_csv

ARMS = ("bn", "ubn")
LABELS = (4, 10, 40)
TOP1 = {"bn": (0.30, 0.40, 0.50), "ubn": (0.40, 0.45, 0.52)}  # means by number of labels
DEVIATION = {"bn": (0.01, 0.02, 0.03), "ubn": (0.02, 0.02, 0.01)}
OF_STATISTICS = {"population": 0.0, "exact": 0.05, "batch": -0.1}  # added to the means
COLUMNS = ("step", "split", "domain", "statistics", "statistics_from", "samples", "batch_size",
           "images", "top1", "loss")  # fmt: skip


def finetune_config(norm="bn", labels=4, seed=0, arm=None, study=None, **changes):
    """Return a config as config.yaml holds it; `changes` are dotted keys with `__` for the dot."""
    config = OmegaConf.create(
        {
            "checkpoint": None,
            "data": {"name": "digits", "root": None, "limit": None},
            "norm": {"encoder": norm, "freeze_last": 0.0},
            "optimizer": {"lr": 0.1},
            "evaluation": {"every": 50, "batch_size": 256, "samples": [1000, 100]},
            "labels": 1.0,
            "labels_per_class": labels,
            "batch_size": 64,
            "steps": 100,
            "log_every": 20,
            "seed": seed,
            "study": study,
            "arm": arm,
            "run_dir": None,
        }
    )
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return OmegaConf.to_container(config)


def evaluation_rows(top1, steps=(50, 100)):
    """Return rows: half of the accuracy at the first step, fewer samples only at the end."""
    rows = []
    for step in steps:
        reached = top1 * step / steps[-1]
        for name, samples in (("population", 0), ("exact", 1000), ("exact", 100), ("batch", 0)):
            if samples == 100 and step != steps[-1]:
                continue
            value = reached + OF_STATISTICS[name] - (0.02 if samples == 100 else 0)
            origin = "all" if name == "exact" else ""
            size = 0 if name == "population" else 256
            rows.append((step, "test", "clean", name, origin, samples, size, 200, value, 1 - value))
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def write_finetune(folder, config=None, top1=0.5, rows=None, summary=None):
    """Write a run and return its folder; `summary` False: no summary.json, a mapping: changes."""
    folder.mkdir(parents=True, exist_ok=True)
    config = config or finetune_config()
    command = "tools/finetune.py -m study=few_labels"
    content = {**config, "environment": {**ENVIRONMENT, "command": command}}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    steps = range(20, 101, 20)
    write_csv(
        folder / "metrics.csv",
        [
            {"step": step, "loss": 1.0, "lr": 0.1, "train_top1": 0.9, "images_per_second": 300.0}
            for step in steps
        ],
    )
    rows = evaluation_rows(top1) if rows is None else rows
    if rows:
        write_csv(folder / "evaluations.csv", rows)
    if summary is not False:
        content = {
            "study": config["study"],
            "arm": config["arm"],
            "tool": "finetune",
            "norm": {"encoder": str(config["norm"]["encoder"])},
            "seed": config["seed"],
            "steps": 100,
            "labels": 10 * (config["labels_per_class"] or 100),
            "loss": 1.0,
            "train_top1": 0.9,
            "top1": top1,
            "top1_exact": top1 + OF_STATISTICS["exact"],
            "top1_batch": top1 + OF_STATISTICS["batch"],
            "chance": 0.1,
            **(summary or {}),
        }
        (folder / "summary.json").write_text(json.dumps(content))
    return folder


def write_few_labels(root, study="few_labels"):
    """Write 18 runs with accuracies mean - d, mean, mean + d for each arm and number of labels."""
    for arm in ARMS:
        for place, labels in enumerate(LABELS):
            for seed in (0, 1, 2):
                top1 = TOP1[arm][place] + DEVIATION[arm][place] * (seed - 1)
                config = finetune_config(arm, labels, seed, study and arm, study)
                write_finetune(root / f"{arm}_labels_per_class={labels}_seed{seed}", config, top1)
    return root
