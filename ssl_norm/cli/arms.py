"""Studies: the rows of a table, each an arm with several settings, in one YAML that one command runs.

A file of configs/study/ holds, beside the settings that all its runs share,

    arms:     name: [setting, ...], each setting as it would be typed; groups (method, augment) among them
    seeds:    list of seeds
    grid:     key: [value, ...]; every arm runs at every value
    tool:     pretrain (the default) | finetune
    figures:  what tools/report.py draws of the runs

Arms become options of a config group `arm`, so that every sweeper and launcher of Hydra takes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from ssl_norm.cli.arguments import complaint_about
from ssl_norm.cli.groups import CONFIG_FOLDER, USUAL_TOOL, groups_of, studies
from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.text import as_typed

TOOLS = ("pretrain", "finetune")
SWEEP_FLAGS = {"-m", "--multirun"}
OF_THE_STUDY = ("arms", "seeds", "grid", "tool", "figures")  # all else are settings of its runs


@dataclass(frozen=True)
class Study:
    """A file of configs/study/.

    Attributes:
        name: of the file.
        settings: what all runs share, with Hydra's `defaults`.
        arms: the settings of each arm as typed.
        seeds: of a whole study; empty: the default seed.
        grid: of each key the values as typed.
        tool: that runs it.
        figures: as plain containers, for the report.
    """

    name: str
    settings: DictConfig
    arms: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]
    grid: Mapping[str, tuple[str, ...]]
    tool: str
    figures: tuple[Mapping[str, Any], ...]


def read_study(name: str) -> Study:
    """Return a study from its file.

    Raises:
        UserError: one of its keys has another form, or a setting of an arm or of the grid is none.
    """
    table = OmegaConf.to_container(OmegaConf.load(CONFIG_FOLDER / "study" / f"{name}.yaml"))
    assert isinstance(table, dict)
    settings = OmegaConf.create({k: v for k, v in table.items() if k not in OF_THE_STUDY})
    settings.study = name
    check_form(name, table)
    study = Study(
        name,
        settings,
        arms={str(arm): tuple(map(str, lines)) for arm, lines in table.get("arms", {}).items()},
        seeds=tuple(table.get("seeds", [])),
        grid={
            str(key): tuple(map(as_typed, values)) for key, values in table.get("grid", {}).items()
        },
        tool=str(table.get("tool", USUAL_TOOL)),
        figures=tuple(table.get("figures", [])),
    )
    for arm, lines in study.arms.items():
        check_settings(f"study {name}, arm {arm}", lines, study.tool)
    for key, values in study.grid.items():
        check_settings(f"study {name}, grid", [f"{key}={value}" for value in values], study.tool)
    return study


def check_form(name: str, table: Mapping[Any, Any]) -> None:
    """Raise UserError where a key of a study's own has another form than it should."""

    def lists(key: str) -> bool:
        found = table.get(key, {})
        return isinstance(found, dict) and all(isinstance(value, list) for value in found.values())

    seeds, figures, tool = table.get("seeds", []), table.get("figures", []), table.get("tool")
    if not lists("arms"):
        raise UserError(
            f"study {name}: arms are lists of settings by name, `arm: [key=value, ...]`"
        )
    if not lists("grid") or not all(table.get("grid", {}).values()):
        raise UserError(f"study {name}: grid holds lists of values by key, `key: [value, ...]`")
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds):
        raise UserError(f"study {name}: seeds is a list of integers, got {seeds}")
    if not isinstance(figures, list) or not all(isinstance(figure, dict) for figure in figures):
        raise UserError(f"study {name}: figures is a list of mappings, `- name: ...`")
    if tool is not None and tool not in TOOLS:
        raise UserError(unknown_name(f"tool of study {name}", str(tool), TOOLS))


def check_settings(where: str, lines: Sequence[str], tool: str) -> None:
    """Raise UserError, which says where, unless each line is a setting of a tool."""
    for line in lines:
        form = None if "=" in line else f"cannot read '{line}': expected key=value"
        if complaint := form or complaint_about(line, tool):
            raise UserError(f"{where}: {complaint}")


def register_studies() -> None:
    """Make the shared settings of all studies known to Hydra, with `study`, the name, among the keys."""
    Plugins.instance().register(RegisteredFirst)
    for name in studies():
        settings = read_study(name).settings
        ConfigStore.instance().store(name, settings, group="study", package="_global_")


def register_arms(study: Study) -> None:
    """Make the arms of one study the options of the group `arm`."""
    store = ConfigStore.instance()
    store.repo.pop("arm", None)
    for arm, lines in study.arms.items():
        store.store(arm, node_of(study, arm, lines), group="arm", package="_global_")


def node_of(study: Study, arm: str, lines: Sequence[str]) -> dict[str, Any]:
    """Return an arm as Hydra's config: groups override the defaults list, all else are values."""
    try:
        settings = OverridesParser.create().parse_overrides(list(lines))
    except OverrideParseException as error:
        raise UserError(
            f"study {study.name}, arm {arm}: cannot read '{error.override}': expected key=value"
        ) from error
    values = OmegaConf.create({"arm": arm})
    groups = []
    for setting in settings:
        if setting.key_or_group in groups_of(study.tool):
            groups.append({f"override /{setting.key_or_group}": setting.value()})
        else:
            OmegaConf.update(values, setting.key_or_group, setting.value(), force_add=True)
    return {"defaults": ["_self_", *groups], **OmegaConf.to_container(values)}  # type: ignore[dict-item]


class RegisteredFirst(SearchPathPlugin):
    """Lets a registered study take precedence over its file, whose arms and seeds are no keys of a run."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put Hydra's store before configs/, as the provider whose entries Hydra takes as they are."""
        search_path.prepend("schema", "structured://")


def choose_arms(arguments: Sequence[str], tool: str = USUAL_TOOL) -> list[str]:
    """Register the arms of the chosen study, and return the command line with the sweep it stands for.

    With `-m` and neither `arm=` nor `seed=`, that is all arms and all seeds, all arms of one seed first, so that
    a sweep that is cut off has whole tables. So it is with the keys of the grid.

    Args:
        arguments: of the command line, each known to be right by itself.
        tool: that was started.

    Raises:
        UserError: an arm without its study, no or an unknown arm of a study with arms, a value of the grid left open,
            or a study that is wrong.
    """
    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    names = [name.strip(" '\"") for name in given.get("study", "").split(",") if name]
    chosen = [read_study(name) for name in names if studies().get(name, tool) == tool]
    if len(chosen) > 1 and any(study.arms or study.grid for study in chosen):
        raise UserError(f"study={given['study']}: a study with arms is run by itself; name one")
    if "arm" in given and not any(study.arms for study in chosen):
        of = f"study={given['study']} has no arms" if chosen else "name its study with study=..."
        raise UserError(f"arm={given['arm']}: {of}")
    if len(chosen) != 1:
        return flags_first(arguments)
    study = chosen[0]
    if study.arms:
        register_arms(study)
    if "arm" in given:
        check_arms(study, given["arm"])
    sweep = open_choices(study, given)
    if SWEEP_FLAGS & set(arguments):
        wanted = study.seeds and "seed" not in given
        seeds = as_sweep({"seed": list(map(str, study.seeds))}) if wanted else []
        return flags_first([*seeds, *arguments, *as_sweep(sweep)])
    if "arm" in sweep:
        raise UserError(
            f"study={study.name} has arms: choose one with arm={' | '.join(study.arms)}, or run all with -m"
        )
    if sweep:
        key, values = next(iter(sweep.items()))
        raise UserError(
            f"study={study.name} has a grid: choose one with {key}={' | '.join(values)}, or run all with -m"
        )
    return flags_first(arguments)


def open_choices(study: Study, given: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return what a study leaves to choose: keys of the grid, then the arm, which varies fastest in a sweep."""
    choices = {**study.grid, **({"arm": tuple(study.arms)} if study.arms else {})}
    return {key: values for key, values in choices.items() if key not in given}


def as_sweep(choices: Mapping[str, Sequence[str]]) -> list[str]:
    """Return Hydra's sweep over the values of some keys."""
    return [f"{key}={','.join(values)}" for key, values in choices.items()]


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the command line with flags and their values before all settings, which Hydra's parser takes for sure.

    Example:
        >>> flags_first(["seed=0,1", "-m", "study=deep_bn", "--cfg", "job"])
        ['-m', '--cfg', 'job', 'seed=0,1', 'study=deep_bn']
    """
    return sorted(arguments, key=lambda argument: "=" in argument and argument[0] != "-")


def check_arms(study: Study, typed: str) -> None:
    """Raise UserError where an arm, of several separated by commas, is not one of the study's."""
    if "(" in typed or "$" in typed:  # a function or an interpolation: Hydra's to read
        return
    for arm in (name.strip(" '\"") for name in typed.split(",")):
        if arm not in study.arms:
            raise UserError(unknown_name(f"arm of study {study.name}", arm, study.arms))
