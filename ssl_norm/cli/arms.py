"""Studies: the rows of a table, each an arm with several settings, in one YAML that one command runs.

A file of configs/study/ holds, beside the settings that all its runs share,

    arms:    name: [setting, ...], each setting as it would be typed; groups (method, augment) among them
    seeds:   list of seeds

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
from ssl_norm.cli.groups import CONFIG_FOLDER, groups_of
from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name

TOOL = "pretrain"
SWEEP_FLAGS = {"-m", "--multirun"}


@dataclass(frozen=True)
class Study:
    """A file of configs/study/.

    Attributes:
        name: of the file.
        settings: what all runs share, with Hydra's `defaults`.
        arms: the settings of each arm as typed.
        seeds: of a whole study; empty: the default seed.
    """

    name: str
    settings: DictConfig
    arms: Mapping[str, tuple[str, ...]]
    seeds: tuple[int, ...]


def read_study(name: str) -> Study:
    """Return a study from its file.

    Raises:
        UserError: `arms` or `seeds` have another form, or a setting of an arm is none.
    """
    settings = OmegaConf.load(CONFIG_FOLDER / "study" / f"{name}.yaml")
    assert isinstance(settings, DictConfig)
    table = OmegaConf.to_container(settings)
    assert isinstance(table, dict)
    arms, seeds = table.get("arms", {}), table.get("seeds", [])
    settings = OmegaConf.create({k: v for k, v in table.items() if k not in ("arms", "seeds")})
    settings.study = name
    if not isinstance(arms, dict) or not all(isinstance(lines, list) for lines in arms.values()):
        raise UserError(
            f"study {name}: arms are lists of settings by name, `arm: [key=value, ...]`"
        )
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds):
        raise UserError(f"study {name}: seeds is a list of integers, got {seeds}")
    study = Study(
        name, settings, {str(arm): tuple(map(str, arms[arm])) for arm in arms}, tuple(seeds)
    )
    for arm, lines in study.arms.items():
        for line in lines:
            form = None if "=" in line else f"cannot read '{line}': expected key=value"
            if complaint := form or complaint_about(line, TOOL):
                raise UserError(f"study {name}, arm {arm}: {complaint}")
    return study


def register_studies() -> None:
    """Make the shared settings of all studies known to Hydra, with `study`, the name, among the keys."""
    Plugins.instance().register(RegisteredFirst)
    for name in groups_of(TOOL)["study"]:
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
        if setting.key_or_group in groups_of(TOOL):
            groups.append({f"override /{setting.key_or_group}": setting.value()})
        else:
            OmegaConf.update(values, setting.key_or_group, setting.value(), force_add=True)
    return {"defaults": ["_self_", *groups], **OmegaConf.to_container(values)}  # type: ignore[dict-item]


class RegisteredFirst(SearchPathPlugin):
    """Lets a registered study take precedence over its file, whose arms and seeds are no keys of a run."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put Hydra's store before configs/, as the provider whose entries Hydra takes as they are."""
        search_path.prepend("schema", "structured://")


def choose_arms(arguments: Sequence[str]) -> list[str]:
    """Register the arms of the chosen study, and return the command line with the sweep it stands for.

    With `-m` and neither `arm=` nor `seed=`, that is all arms and all seeds, all arms of one seed first, so that
    a sweep that is cut off has whole tables.

    Args:
        arguments: of the command line, each known to be right by itself.

    Raises:
        UserError: an arm without its study, no or an unknown arm of a study with arms, or a study that is wrong.
    """
    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    names = [name.strip(" '\"") for name in given.get("study", "").split(",") if name]
    studies = [read_study(name) for name in names]
    if not any(study.arms for study in studies):
        if "arm" in given:
            of = (
                f"study={given['study']} has no arms"
                if studies
                else "name its study with study=..."
            )
            raise UserError(f"arm={given['arm']}: {of}")
        return flags_first([*_seeds(studies, given, arguments), *arguments])
    if len(studies) > 1:
        raise UserError(f"study={given['study']}: a study with arms is run by itself; name one")
    study = studies[0]
    register_arms(study)
    if "arm" in given:
        check_arms(study, given["arm"])
    elif not SWEEP_FLAGS & set(arguments):
        raise UserError(
            f"study={study.name} has arms: choose one with arm={' | '.join(study.arms)}, or run all with -m"
        )
    arms = [] if "arm" in given else [f"arm={','.join(study.arms)}"]
    return flags_first([*_seeds(studies, given, arguments), *arguments, *arms])


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


def _seeds(
    studies: Sequence[Study], given: Mapping[str, str], arguments: Sequence[str]
) -> list[str]:
    """Return the sweep over the seeds of a study, where one is wanted and has some."""
    wanted = SWEEP_FLAGS & set(arguments) and "seed" not in given and len(studies) == 1
    return [f"seed={','.join(map(str, studies[0].seeds))}"] if wanted and studies[0].seeds else []
