"""Command lines and Python calls that use examples/plugin, in one process.

Prints a JSON list of [exit code, output] of each, by name.
"""

import contextlib
import io
import json
import shutil
from pathlib import Path

import ssl_norm
from tests.tool import run

EXAMPLE = "ssl_norm_example"
FOLDER = Path(__file__).resolve().parents[1] / "examples" / "plugin" / "configs"
TWO_STEPS = (
    *("epochs=2", "batch_size=72", "monitor.log_every=1", "monitor.spectral_every=1"),
    *("device=cpu", "linear_probe=false"),
)
BY_NAME = (
    *("method=simsiam", "data=shapes", "encoder=two_convs", "norm.encoder=mean_only"),
    *("augment.view1.extra=[posterize]", "loggers=[json_lines]"),
)
BY_REFERENCE = (
    f"method={EXAMPLE}.simsiam:SimSiam",
    *(f"data={EXAMPLE}.shapes:load_shapes", "data.images=128"),
    f"encoder={EXAMPLE}.two_convs:TwoConvs",
    *(f"norm.encoder={EXAMPLE}.mean_only_batch_norm:MeanOnlyBatchNorm", "norm.predictor=none"),
    "augment.view1.extra=[{name: '" + f"{EXAMPLE}.posterize:Posterize" + "', bits: 2}]",
    f"loggers=[{EXAMPLE}.json_lines:JsonLines]",
)
COMMANDS = {
    "help": ("pretrain", "--help"),
    "method typo": ("pretrain", "method=simsam"),
    "data typo": ("pretrain", "data=shaps"),
    "data key typo": ("pretrain", "data=shapes", "data.imags=3"),
    "encoder typo": ("pretrain", "encoder.name=two_conv"),
    "norm typo": ("pretrain", "norm.encoder=mean_onl"),
    "augmentation typo": ("pretrain", "augment.view1.extra=[posterise]"),
    "logger typo": ("pretrain", "loggers=[json_line]"),
    "by name": ("pretrain", *BY_NAME, *TWO_STEPS, "keep_every=1", "run_dir=runs/named"),
    "resume": ("pretrain", "run_dir=runs/named", "resume=true"),
    "by reference": ("pretrain", *BY_REFERENCE, *TWO_STEPS, "run_dir=runs/referred"),
    "linear_eval": ("linear_eval", "checkpoint=runs/named"),
    "diagnose": ("diagnose", "checkpoint=runs/named", "samples=32"),
    "report": ("report", "runs=runs", "output=report"),
    "finetune": (
        "finetune",
        *("checkpoint=runs/named", "data=shapes", "steps=2", "batch_size=16", "device=cpu"),
        *("loggers=[]", "evaluation.statistics=[population]", "evaluation.batch_sizes=[16]"),
        *("evaluation.corruptions=[occlude]", "evaluation.adapt_samples=[8]"),
        "run_dir=runs/classifier",
    ),
    "config-dir help": ("pretrain", "--config-dir", str(FOLDER), "method=simsiam", "--help"),
    "config-dir": ("pretrain", "--config-dir", str(FOLDER), "--cfg", "job", *BY_NAME[:3]),
    "searchpath": ("pretrain", f"hydra.searchpath=[file://{FOLDER}]", "--cfg", "job", *BY_NAME[:3]),
}


def by_python() -> dict[str, str]:
    """Pretrain with a name registered here and with classes; return config.yaml of each run."""
    from ssl_norm.norms import NORMS
    from ssl_norm_example.json_lines import JsonLines
    from ssl_norm_example.mean_only_batch_norm import MeanOnlyBatchNorm
    from ssl_norm_example.posterize import Posterize
    from ssl_norm_example.shapes import load_shapes
    from ssl_norm_example.simsiam import SimSiam
    from ssl_norm_example.two_convs import TwoConvs

    NORMS.register("mine", f"{EXAMPLE}.mean_only_batch_norm:MeanOnlyBatchNorm")
    own = (
        {"norm": {"encoder": "mine"}},
        {
            "method": SimSiam,
            "data": load_shapes,
            "encoder": TwoConvs,
            "norm": {"encoder": MeanOnlyBatchNorm, "projector": {"name": MeanOnlyBatchNorm}},
            "augment": {"view2": {"extra": [Posterize]}},
            "loggers": [JsonLines],
        },
    )
    found = {}
    for number, settings in enumerate(own):
        run = ssl_norm.pretrain(
            **{"data": "shapes", "epochs": 1, "batch_size": 72, "device": "cpu", **settings},
            linear_probe=False,
            run_dir=f"runs/python{number}",
        )
        found[str(run.folder)] = (Path(run.folder) / "config.yaml").read_text()
    return found


def all_commands() -> dict[str, tuple[int, str]]:
    """Run the commands in their order; the run that resumes has lost its second epoch before."""
    ends = {}
    for name, command in COMMANDS.items():
        if name == "resume":
            kept = next(Path("runs/named").glob("step_*2.pt"))
            shutil.copy(kept, "runs/named/last.pt")
        code, out, error = run(*command)
        ends[name] = code, out + error
    return ends


if __name__ == "__main__":
    ends = all_commands()
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        python = by_python()
    print(json.dumps({"commands": ends, "python": python}))
