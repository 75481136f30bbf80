"""What the checks of all tools share: intervals, tables of values, device and folder."""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter

from hydra.core.hydra_config import HydraConfig

from ssl_norm.data import DATA
from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.value_checks import check_name, check_number, check_path

COUNT = Interval(1, whole=True)
WHOLE = Interval(0, whole=True)
PAIR = Interval(2, whole=True)  # the fewest samples with batch statistics
NOT_NEGATIVE = Interval(0)
POSITIVE = Interval(0, ends="()")
FRACTION = Interval(0, 1, "[]")
BELOW_ONE = Interval(0, 1, "[)")
SEED = Interval(0, 2**63 - 1, "[]", whole=True)  # what torch and numpy both take

# What every tool that trains has.
RUN_NUMBERS: Mapping[str, Interval] = {
    "batch_size": COUNT,
    "seed": SEED,
    "checkpoint_every": COUNT,
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": BELOW_ONE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.lars_eta": POSITIVE,
}
RUN_NAMES: Mapping[str, tuple[str, ...]] = {
    "data.name": tuple(DATA),
    "data.resident": ("auto", "true", "false"),
    "optimizer.name": ("sgd", "lars", "adamw"),
    "optimizer.schedule": ("cosine", "constant"),
    "precision": ("auto", "float32", "bfloat16"),
}


def check_values(
    config: object, numbers: Mapping[str, Interval], names: Mapping[str, tuple[str, ...]]
) -> None:
    """Check the values that stand at dotted keys of a configuration."""
    for key, interval in numbers.items():
        check_number(key, attrgetter(key)(config), interval)
    for key, known in names.items():
        check_name(key, attrgetter(key)(config), known)


def check_device(device: str) -> None:
    """Check the form of a device's name."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:(0|[1-9]\d*))?", device):
        raise UserError(
            f"device: '{device}' is no device; expected auto, cpu, cuda, cuda:<number> or mps"
        )


def check_place(run_dir: str | None, resume: bool) -> None:
    """Check that a run that goes on says where it is."""
    check_path("run_dir", run_dir, "folder")
    if resume and run_dir is None and not goes_on_with_sweep():
        raise UserError(
            "resume=true needs run_dir=..., the folder of the run to go on with; "
            "a sweep (-m) needs hydra.sweep.dir=..., its folder"
        )


def goes_on_with_sweep() -> bool:
    """Whether this is a run of a sweep whose folder was named, so that its runs have a place to be found at."""
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    return hydra is not None and any(
        override.startswith("hydra.sweep.dir=") for override in hydra.overrides.hydra
    )


def check_betas(betas: Sequence[float]) -> None:
    """Check AdamW's two decays."""
    if len(betas) != 2 or not all(beta in BELOW_ONE for beta in betas):
        raise UserError(f"optimizer.betas: two numbers in [0, 1) expected, got {list(betas)}")
