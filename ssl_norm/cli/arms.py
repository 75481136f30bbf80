"""Arms, seeds and grids of studies as sweeps of Hydra."""

from collections.abc import Mapping, Sequence

from ssl_norm.cli.arguments import check_setting
from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.settings.compose import typed_options, typed_values
from ssl_norm.settings.study import Study, read_study, studies_of


def choose_arms(settings: Sequence[str], tool: str, *, sweep: bool) -> list[str]:
    """Return the settings with the sweep that the chosen study implies.

    If `sweep` (`-m`), all arms run unless `arm=` is given, all seeds unless `seed=` is given, and
    all values of a key of the grid unless that key is given. All arms run with the first seed, then
    all with the next, so that tables of an interrupted sweep compare whole sets of arms.
    """
    given = typed_values(settings)
    names = typed_options(given.get("study", ""))
    chosen = [read_study(name) for name in names if name in studies_of(tool)]
    for study in chosen:
        _check_study(study)
    if len(chosen) > 1 and any(study.arms or study.grid for study in chosen):
        raise UserError(f"study={given['study']}: run a study with arms alone; name one")
    if "arm" in given and not any(study.arms for study in chosen):
        of = f"study={given['study']} has no arms" if chosen else "name its study with study=..."
        raise UserError(f"arm={given['arm']}: {of}")
    if len(chosen) != 1:
        return list(settings)
    return _with_sweep(chosen[0], settings, given, sweep=sweep)


def _with_sweep(
    study: Study, settings: Sequence[str], given: Mapping[str, str], *, sweep: bool
) -> list[str]:
    """Return the settings with all values of those keys of a study that the user did not choose."""
    for arm in typed_options(given["arm"]) if "arm" in given else ():
        if arm not in study.arms:
            raise UserError(unknown_name(f"arm of study {study.name}", arm, study.arms))
    choices = {**study.typed_grid, **({"arm": list(study.arms)} if study.arms else {})}
    choices = {key: values for key, values in choices.items() if key not in given}
    if sweep:
        seeds = [str(seed) for seed in study.seeds] if "seed" not in given else []
        return [
            *([f"seed={','.join(seeds)}"] if seeds else []),
            *settings,
            *(f"{key}={','.join(values)}" for key, values in choices.items()),
        ]
    for key in sorted(choices, key="arm".__ne__):
        has = "arms" if key == "arm" else "a grid"
        raise UserError(
            f"study={study.name} has {has}: choose one with {key}={' | '.join(choices[key])}, "
            "or run all with -m"
        )
    return list(settings)


def _check_study(study: Study) -> None:
    """Raise UserError, naming the arm, unless all settings of a study are settings of its tool."""
    where = ""
    try:
        for arm, lines in study.arms.items():
            where = f"arm {arm}"
            for line in lines:
                check_setting(line, study.tool)
        where = "grid"
        for key, values in study.typed_grid.items():
            for value in values:
                check_setting(f"{key}={value}", study.tool)
    except UserError as error:
        raise UserError(f"study {study.name}, {where}: {error}") from error
