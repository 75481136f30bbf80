"""Small invented run folders of tools/pretrain.py, tools/finetune.py and tools/linear_eval.py."""

import csv
import json
import math
from itertools import product

from omegaconf import OmegaConf

from ssl_norm.reporting.frame import group_keys, group_runs
from ssl_norm.reporting.read import find_runs, read_runs

ENVIRONMENT = {
    "ssl_norm": "0.1.0",
    "commit": "0123456789ab",
    "torch": "2.15.0",
    "python": "3.11.7",
    "hardware": "AMD EPYC, 2 threads",
    "command": "tools/pretrain.py -m norm.projector=bn,none seed=0,1",
}
LAYERS = ("encoder.layer1", "encoder.layer2", "projector.0")
ARMS = ("bn", "ubn")
LABELS = (4, 10, 40)
TOP1 = {"bn": (0.30, 0.40, 0.50), "ubn": (0.40, 0.45, 0.52)}  # means by number of labels
DEVIATION = {"bn": (0.01, 0.02, 0.03), "ubn": (0.02, 0.02, 0.01)}
OF_STATISTICS = {"population": 0.0, "exact": 0.05, "batch": -0.1}  # added to the means


PRETRAIN = """
method: {name: byol, projector: {hidden_dim: 512, norm_output: false}}
data: {name: folder, root: /photos, limit: null}
norm: {encoder: bn}
optimizer: {lr: 0.4, betas: [0.9, 0.999]}
monitor: {log_every: 10, patience: 20}
epochs: 4
run_dir: null
"""
FINETUNE = """
checkpoint: null
data: {name: digits, root: null, limit: null}
norm: {freeze_last: 0.0}
optimizer: {lr: 0.1}
evaluation: {every: 50, batch_size: 256, samples: [1000, 100]}
labels: 1.0
batch_size: 64
steps: 100
log_every: 20
run_dir: null
"""


def changed(config, changes):
    """Return settings as in config.yaml; `changes` have dotted keys with `__` for the dot."""
    config = OmegaConf.create(config)
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return OmegaConf.to_container(config)


def config_of(method="byol", heads="bn", seed=0, **changes):
    own = {"norm__projector": heads, "norm__predictor": heads, "method__name": method, "seed": seed}
    return changed(PRETRAIN, own | changes)


def finetune_config(norm="bn", labels=4, seed=0, arm=None, study=None, **changes):
    own = {"norm__encoder": norm, "labels_per_class": labels, "seed": seed}
    return changed(FINETUNE, own | {"study": study, "arm": arm} | changes)


def curves(seed=0, collapsed=False, steps=range(10, 101, 10)):
    """Return the rows of metrics.csv."""
    rows = []
    for step in steps:
        share = step / 100
        negative = 1 - 0.3 * math.exp(-8 * share) if collapsed else 0.5 - 0.1 * share + 0.02 * seed
        row = {"step": step, "epoch": step / 25, "loss": 2 - share, "lr": 0.4}
        row["positive_cosine"] = 1.0 if collapsed else 0.7 + 0.1 * share
        row |= {"negative_cosine": negative, "feature_std": 1 - negative}
        verdict = "complete" if collapsed and step > 50 else "healthy"
        rows.append(row | {"images_per_second": 300.0, "verdict": verdict})
    return rows


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_folder(folder, config, environment, files):
    """Write config.yaml and further files, rows as CSV and mappings as JSON; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {**config, "environment": {**ENVIRONMENT, **environment}}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    for name, content in files.items():
        if content and name.endswith(".csv"):
            write_csv(folder / name, content)
        elif content:
            (folder / name).write_text(json.dumps(content))
    return folder


def write_run(folder, config=None, rows=None, summary=None, top1=0.9, environment=None):
    """Write a finished run of an old kind (no spectra, no layers); return its folder.

    `summary` are changes to summary.json, or False to omit it; `top1=None` omits linear_eval.json.
    """
    config = config or config_of()
    rows = curves(config["seed"]) if rows is None else rows
    last = dict(rows[-1]) if rows else {}
    step, began = last.pop("step", None), 41 if last.get("verdict") == "complete" else None
    found = {"method": config["method"]["name"], "norm": config["norm"], "seed": config["seed"]}
    found |= {"steps": step, **last, "collapsed_at_step": began, "linear_top1": 0.5}
    found |= {"linear_top1_random_init": 0.4, **(summary or {})}
    files = {"metrics.csv": rows, "summary.json": summary is not False and found}
    if top1 is not None:
        command = "tools/linear_eval.py checkpoint=x"
        files["linear_eval.json"] = {
            "top1": top1, "top1_random_init": 0.4, "knn_top1": top1 - 0.1,
            "knn_top1_random_init": 0.3, "protocol": "logistic", "labels": 1000,
            "test_images": 200, "step": step, "environment": {**ENVIRONMENT, "command": command},
        }  # fmt: skip
    return write_folder(folder, config, environment or {}, files)


def evaluation_rows(top1, steps=(50, 100)):
    """Return rows: half of the accuracy at the first step, and fewer samples at the end."""
    rows = []
    for step in steps:
        for name, samples in (("population", 0), ("exact", 1000), ("exact", 100), ("batch", 0)):
            if samples == 100 and step != steps[-1]:
                continue
            value = top1 * step / steps[-1] + OF_STATISTICS[name] - 0.02 * (samples == 100)
            row = {"step": step, "split": "test", "domain": "clean", "statistics": name}
            row |= {"statistics_from": "all" if name == "exact" else "", "samples": samples}
            row |= {"batch_size": 0 if name == "population" else 256, "images": 200}
            rows.append(row | {"top1": value, "loss": 1 - value})
    return rows


def write_finetune(folder, config=None, top1=0.5, rows=None, summary=None):
    """Write a run, return its folder; `summary` are changes to summary.json, False omits it."""
    config = config or finetune_config()
    metrics = {"loss": 1.0, "lr": 0.1, "train_top1": 0.9, "images_per_second": 300.0}
    found = {key: config[key] for key in ("study", "arm", "seed")}
    found |= {"tool": "finetune", "norm": {"encoder": str(config["norm"]["encoder"])}}
    found |= {"steps": 100, "labels": 10 * (config["labels_per_class"] or 100), "loss": 1.0}
    found |= {f"top1_{kind}": top1 + OF_STATISTICS[kind] for kind in ("exact", "batch")}
    found |= {"top1": top1, "train_top1": 0.9, "chance": 0.1, **(summary or {})}
    files = {
        "metrics.csv": [{"step": step, **metrics} for step in range(20, 101, 20)],
        "evaluations.csv": evaluation_rows(top1) if rows is None else rows,
        "summary.json": summary is not False and found,
    }
    command = "tools/finetune.py -m study=few_labels"
    return write_folder(folder, config, {"command": command}, files)


def write_few_labels(root, study="few_labels"):
    """Write 18 runs with accuracies mean - d, mean, mean + d for each arm and number of labels."""
    for arm, (place, labels), seed in product(ARMS, enumerate(LABELS), (0, 1, 2)):
        top1 = TOP1[arm][place] + DEVIATION[arm][place] * (seed - 1)
        config = finetune_config(arm, labels, seed, study and arm, study)
        write_finetune(root / f"{arm}_labels_per_class={labels}_seed{seed}", config, top1)
    return root


def add_spectra(folder, dimensions=16, decay=0.3):
    rows = [
        {"step": step, **{i + 1: math.exp(-decay * i * step / 50) for i in range(dimensions)}}
        for step in (20, 60, 100)
    ]
    write_csv(folder / "spectra.csv", rows)


def add_layers(folder):
    rows = [
        {
            "step": step, "layer": layer, "positive_cosine": math.nan, "negative_cosine": step / 100,
            "feature_std": 1 - step / 100, "rank_me": 5.0, "gradient_norm": 0.1,
        }
        for step in range(10, 101, 10)
        for layer in LAYERS
    ]  # fmt: skip
    write_csv(folder / "layers.csv", rows)


def write_study(root, seeds=(0, 1, 2)):
    """Write a study of bn and none in the heads, with spectra and layers, as a sweep does."""
    for job, (heads, seed) in enumerate(product(("bn", "none"), seeds)):
        collapsed = heads == "none"
        top1 = (0.4 if collapsed else 0.9) + 0.01 * seed
        folder = root / f"{job:03d}_byol_bn-{heads}-{heads}_seed{seed}"
        write_run(folder, config_of(heads=heads, seed=seed), curves(seed, collapsed), top1=top1)
        add_spectra(folder, decay=1.5 if collapsed else 0.2)
        add_layers(folder)
    return root


def runs_in(root):
    return read_runs(find_runs([root]))


def grouped(root, keys=None):
    """Return the keys that group the runs of a folder, and the groups."""
    runs = runs_in(root)
    keys = group_keys(runs, keys)
    return keys, group_runs(runs, keys)


def groups_in(root):
    return grouped(root)[1]


def columns_of(table):
    """Return the cells of a table by heading."""
    return {name: list(cells) for name, *cells in zip(table.headings, *table.rows, strict=True)}


def add_probes(folder, top1, labels=1000, steps=(0, 45, 100)):
    rows = [{"step": step, "top1": top1 + step / 1000, "knn_top1": top1 - 0.1} for step in steps]
    content = {"steps": rows, "protocol": "logistic", "labels": labels, "test_images": 200}
    (folder / "linear_eval_steps.json").write_text(json.dumps(content))
