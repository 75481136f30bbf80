"""The folder of one run in the folder of a sweep."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from ssl_norm.settings.resume import may_change_on_resume
from ssl_norm.train.run_settings import RunConfig, file_name, run_name


def folder_in_sweep(config: RunConfig, typed: Sequence[str]) -> Path:
    """Return the folder of a run of a sweep, from its settings and those typed on its command."""
    hydra = HydraConfig.get()
    numbered = f"{hydra.job.num:03d}_{run_name(config)}_seed{config.seed}"
    name = arm_run_name(config, typed) if config.arm else numbered
    return Path(hydra.sweep.dir) / file_name(name)


def arm_run_name(config: RunConfig, typed: Sequence[str]) -> str:
    """Return the arm, the typed settings that change the result, and the seed.

    The number of the run is omitted because it depends on the rest of the sweep. A sweep that is
    resumed, perhaps with more seeds, therefore finds its runs.
    """
    keys = {setting: setting.partition("=")[0] for setting in typed}
    differing = [
        setting
        for setting, key in keys.items()
        if key not in ("study", "arm", "seed") and not may_change_on_resume(type(config), key)
    ]
    return "_".join([str(config.arm), *differing, f"seed{config.seed}"])
