"""A valid combination of learner, norms, encoder and policies runs two steps with finite numbers."""

import contextlib
from csv import DictReader
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from ssl_norm.learners import METHODS
from ssl_norm.norms import NORMS
from ssl_norm.option_errors import choices_of
from ssl_norm.signature import declared_options
from ssl_norm.text import as_typed
from ssl_norm.train.step_log import floating_tensors
from tests.campaigns.campaign import Broken, Chance
from tests.campaigns.commands import command
from tests.campaigns.settings import draw

TRIALS, SAMPLE = 200, 1
DRAWS = 50  # combinations that may be refused before one is valid
ENCODERS = ("tiny", "tiny", "tiny", "resnet10t", "resnet18", "mobilenetv3_small_050", "regnetx_002")
# Norms that leave the scale as it is at first. Standardized weights before them multiply it by the
# root of the fan-in in each layer, beyond float32 in twenty.
UNSCALED = ("none", "frozen")
# Values of options that are numbers; values of other options are drawn from their choices.
NUMBERS: dict[str, tuple[Any, ...]] = {
    "eps": (1e-12, 1e-5, 1e-3, 1.0),
    "update_rate": (0.01, 0.1, 1),
    "batch_size": (2, 4, 8),
    "groups": (1, 2, 4, 8),
    "domains": (2, 4),
    "iterations": (1, 5, 20),
    "r_max": (1, 3.0),
    "d_max": (0, 5.0),
    "warmup_steps": (0, 1, 5000),
    "r_ramp_steps": (1, 10),
    "d_ramp_steps": (1, 10),
}


@st.composite
def norms(draw_: st.DrawFn) -> str:
    """Return a norm with up to two options, as it is typed."""
    name = draw_(st.sampled_from(list(NORMS)))
    options = declared_options(NORMS, name)
    chosen = draw_(st.lists(st.sampled_from([*options, ""]), max_size=2, unique=True))
    typed = {}
    for key in filter(None, chosen):
        choices = choices_of(options[key].annotation) or ["true", "false"]
        typed[key] = draw_(st.sampled_from(NUMBERS.get(key, choices)))
    full = name + draw_(st.sampled_from(["", "", "+ws"]))
    if name in UNSCALED:
        full = name
    return as_typed({"name": full, **typed}) if typed else full


@st.composite
def combinations(draw_: st.DrawFn) -> list[str]:
    """Return the settings of a run of two steps."""

    def one_of(*values: Any) -> Any:
        return draw_(st.sampled_from(values))

    method, accumulate = one_of(*METHODS), one_of(1, 1, 2)
    typed = [
        f"method={method}",
        f"encoder.name={one_of(*ENCODERS)}",
        f"precision={one_of('float32', 'bfloat16')}",
        f"accumulate={accumulate}",
        f"data.limit={32 * accumulate}",
        f"channels_last={one_of('true', 'false')}",
        f"norm.view_statistics={one_of('separate', 'joint')}",
        f"norm.freeze_last_epochs={one_of(0, 0, 1)}",
        f"optimizer.name={one_of('sgd', 'lars', 'adamw')}",
        f"norm.encoder={draw_(norms())}",
        f"norm.projector={draw_(norms())}",
        f"method.projector.layers={one_of(0, 1, 2, 3)}",
        f"method.projector.norm_output={one_of('false', 'true', draw_(norms()))}",
    ]
    options = declared_options(METHODS, method)
    typed += [f"method.queue_size={one_of(32, 64)}"] if "queue_size" in options else []
    typed += [f"method.symmetric={one_of('true', 'false')}"] if "symmetric" in options else []
    if "ema_decay" in options:
        typed.append(f"method.ema_decay={one_of(0, 0.5, 1)}")
        typed.append(f"method.ema_buffers={one_of('true', 'false')}")
    if method == "byol":
        typed.append(f"norm.predictor={draw_(norms())}")
        typed.append(f"method.predictor.layers={one_of(0, 1, 2)}")
    else:
        typed.append("norm.predictor=none")
    return typed


SHORT = (
    "data=digits data.workers=0 batch_size=16 epochs=1 optimizer.lr=0.1 optimizer.warmup_epochs=0 "
    "linear_probe=false loggers=[] monitor.log_every=1 monitor.spectral_every=1 device=cpu "
    "monitor.layers_every=1 run_dir=run"
)


DIVERGED = 4
SLOW = ("optimizer.lr=1e-6", "run_dir=slow")


def trial(chance: Chance, folder: Path) -> None:
    """Run a valid combination and check that all its numbers are finite.

    A deep network without effective norms may diverge, which the run says. At a small learning
    rate it must not.
    """
    run_folder = folder / "run"
    with contextlib.chdir(folder):
        for _ in range(DRAWS):
            typed = draw(combinations(), chance)
            chance.what = str(typed)
            code, error = command("pretrain", *SHORT.split(), *typed)
            if code == DIVERGED:
                run_folder = folder / "slow"
                code, error = command("pretrain", *SHORT.split(), *typed, *SLOW)
            if code != 2:
                break
    if code:
        raise Broken("lost", f"code {code}: {error[-1500:]}")
    check_numbers(run_folder)


def check_numbers(run_folder: Path) -> None:
    """Check that losses, weights and statistics of a run are finite."""
    with (run_folder / "metrics.csv").open() as file:
        rows = list(DictReader(file))
    if len(rows) != 2:
        raise Broken("lost", f"{len(rows)} rows of 2")
    if not all(isfinite(float(row["loss"])) for row in rows):
        raise Broken("silent", f"the losses are {[row['loss'] for row in rows]}")
    for name, tensor in floating_tensors(torch.load(run_folder / "last.pt", weights_only=True)):
        if not tensor.isfinite().all():
            raise Broken("silent", f"{name} of last.pt is not finite")
