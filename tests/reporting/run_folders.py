"""Small invented run folders of tools/pretrain.py and tools/linear_eval.py."""

import json
import math

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


def config_of(method="byol", heads="bn", seed=0, **changes):
    """Return a config as config.yaml holds it; `changes` are dotted keys with `__` for the dot."""
    config = OmegaConf.create(
        {
            "method": {"name": method, "projector": {"hidden_dim": 512, "norm_output": False}},
            "data": {"name": "folder", "root": "/photos", "limit": None},
            "norm": {"encoder": "bn", "projector": heads, "predictor": heads},
            "optimizer": {"lr": 0.4, "betas": [0.9, 0.999]},
            "monitor": {"log_every": 10, "patience": 20},
            "epochs": 4,
            "seed": seed,
            "run_dir": None,
        }
    )
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return OmegaConf.to_container(config)


def curves(seed=0, collapsed=False, steps=range(10, 101, 10)):
    """Return the columns of metrics.csv."""
    rows = []
    for step in steps:
        share = step / 100
        negative = 1 - 0.3 * math.exp(-8 * share) if collapsed else 0.5 - 0.1 * share + 0.02 * seed
        rows.append(
            {
                "step": step,
                "epoch": step / 25,
                "loss": 2 - share,
                "lr": 0.4,
                "positive_cosine": 1.0 if collapsed else 0.7 + 0.1 * share,
                "negative_cosine": negative,
                "feature_std": 1 - negative,
                "images_per_second": 300.0,
                "verdict": "complete" if collapsed and step > 50 else "healthy",
            }
        )
    return rows


def write_csv(path, rows):
    lines = [",".join(map(str, row)) for row in [rows[0], *(row.values() for row in rows)]]
    path.write_text("".join(f"{line}\n" for line in lines))


def write_run(folder, config=None, rows=None, summary=None, top1=0.9, environment=None):
    """Write a finished run of an old kind (no spectra, no layers); return its folder.

    `summary` False: no summary.json, a mapping: changes; `top1` None: no linear_eval.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = config or config_of()
    rows = curves(config["seed"]) if rows is None else rows
    content = {**config, "environment": {**ENVIRONMENT, **(environment or {})}}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    if rows:
        write_csv(folder / "metrics.csv", rows)
    if summary is not False:
        last = {name: value for name, value in rows[-1].items() if name != "step"}
        collapsed = last["verdict"] == "complete"
        content = {
            "method": config["method"]["name"],
            "norm": config["norm"],
            "seed": config["seed"],
            "steps": rows[-1]["step"],
            **last,
            "collapsed_at_step": 41 if collapsed else None,
            "linear_top1": 0.5,
            "linear_top1_random_init": 0.4,
            **(summary or {}),
        }
        (folder / "summary.json").write_text(json.dumps(content))
    if top1 is not None:
        content = {
            "top1": top1,
            "top1_random_init": 0.4,
            "knn_top1": top1 - 0.1,
            "knn_top1_random_init": 0.3,
            "protocol": "logistic",
            "labels": 1000,
            "test_images": 200,
            "step": rows[-1]["step"] if rows else None,
            "environment": {**ENVIRONMENT, "command": "tools/linear_eval.py checkpoint=x"},
        }
        (folder / "linear_eval.json").write_text(json.dumps(content))
    return folder


def add_spectra(folder, dimensions=16, decay=0.3):
    rows = [
        {"step": step, **{i + 1: math.exp(-decay * i * step / 50) for i in range(dimensions)}}
        for step in (20, 60, 100)
    ]
    write_csv(folder / "spectra.csv", rows)


def add_layers(folder):
    rows = [
        {
            "step": step,
            "layer": layer,
            "positive_cosine": math.nan,
            "negative_cosine": step / 100,
            "feature_std": 1 - step / 100,
            "rank_me": 5.0,
            "gradient_norm": 0.1,
        }
        for step in range(10, 101, 10)
        for layer in LAYERS
    ]
    write_csv(folder / "layers.csv", rows)


def write_study(root, seeds=(0, 1, 2)):
    """Write a study of bn and none in the heads, with spectra and layers, as a sweep does."""
    job = 0
    for heads in ("bn", "none"):
        for seed in seeds:
            folder = root / f"{job:03d}_byol_bn-{heads}-{heads}_seed{seed}"
            collapsed = heads == "none"
            top1 = (0.4 if collapsed else 0.9) + 0.01 * seed
            write_run(folder, config_of(heads=heads, seed=seed), curves(seed, collapsed), top1=top1)
            add_spectra(folder, decay=1.5 if collapsed else 0.2)
            add_layers(folder)
            job += 1
    return root


def runs_in(root):
    return read_runs(find_runs([root]))


def groups_in(root):
    runs = runs_in(root)
    return group_runs(runs, group_keys(runs, None))


def columns_of(table):
    """Return the cells of a table by heading."""
    return {name: list(cells) for name, *cells in zip(table.headings, *table.rows, strict=True)}


def add_probes(folder, top1, labels=1000, steps=(0, 45, 100)):
    rows = [{"step": step, "top1": top1 + step / 1000, "knn_top1": top1 - 0.1} for step in steps]
    content = {"steps": rows, "protocol": "logistic", "labels": labels, "test_images": 200}
    (folder / "linear_eval_steps.json").write_text(json.dumps(content))
