"""Composition of settings from configs/ and the command line by Hydra."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_norm.data.registry import DATA
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.models.catalogue import ENCODERS, LIBRARIES
from ssl_norm.names import reference_hint, unknown_name
from ssl_norm.option_errors import find_field, model_of
from ssl_norm.options import Settings
from ssl_norm.registry import is_reference
from ssl_norm.settings.folder import CONFIG_FOLDER, added_folders, find_file, names_in, read_file
from ssl_norm.settings.method import heads_of
from ssl_norm.settings.models import MODELS, validate
from ssl_norm.settings.study import Study, read_study, studies_of, study_tools
from ssl_norm.text import flatten

OWN_KEYS = ("views", "recipes")  # keys in configs/method and configs/data that this module reads
BROKEN: list[str] = []  # errors of unreadable files, raised when one is used
REGISTRIES = {"method": METHODS, "data": DATA, "encoder": ENCODERS}


class _RegisteredFirst(SearchPathPlugin):
    """Give registered configs precedence over files, which also have keys that are not settings."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(added_folders()):
            search_path.prepend("user", f"file://{folder}")
        search_path.prepend("schema", "structured://")


def groups_of(tool: str) -> Mapping[str, tuple[str, ...]]:
    """Return the config groups of a tool and their options.

    They are the named entries of `defaults` in `configs/<tool>.yaml`, without `optional` entries,
    which follow from other choices, and without arms, which follow from the study.
    """
    return _groups_of(tool, tuple(added_folders()))


@cache
def _groups_of(tool: str, folders: Sequence[Path]) -> Mapping[str, tuple[str, ...]]:
    defaults = OmegaConf.load(CONFIG_FOLDER / f"{tool}.yaml").defaults
    names = [str(name) for entry in defaults if isinstance(entry, DictConfig) for name in entry]
    groups = {name: _options(name) for name in names if not name.startswith("optional ")}
    groups.pop("arm", None)
    if "study" in groups:
        groups["study"] = tuple(studies_of(tool))
    return groups


def _options(group: str) -> tuple[str, ...]:
    if group == "augment":
        return tuple(name for name, _ in _all_views())
    registered = [name for name in REGISTRIES.get(group, ()) if name not in LIBRARIES]
    return tuple(dict.fromkeys([*names_in(group), *registered]))


def _file(group: str, name: str) -> Mapping[str, Any]:
    """Return the contents of an option's file, or only the name if it has no file."""
    path = find_file(group, name)
    if path is not None:
        return _contents(path)
    return {"method": {"name": name}} if group == "method" else {"name": name}


@cache
def _contents(path: Path) -> Mapping[str, Any]:
    """Return the contents of a file; for a broken file, a value that raises when it is resolved."""
    try:
        found = read_file(path, *OWN_KEYS, "method")
        if path.parent.name == "method":
            read_file(path, *(f"{key}.{name}" for key in OWN_KEYS for name in found.get(key, ())))
        return found
    except UserError as error:
        BROKEN.append(str(error))
        return {"broken_file": f"${{ssl_norm.broken_file:{len(BROKEN) - 1}}}"}


def _raise_broken(number: int) -> None:
    raise UserError(BROKEN[number])


def _all_views(methods: Sequence[str] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and settings of the views of each method.

    `<method>` is for photographs and `<method>_small` for images up to 64 px. If a data set defines
    views, all methods have them as `<method>_<data>`.
    """
    data = {name: _file("data", name).get("views") for name in _options("data")}
    for method in dict.fromkeys([*_options("method"), *methods]):
        views = _file("method", method).get("views", {})
        yield method, views.get("full", {})
        yield f"{method}_small", views.get("small", views.get("full", {}))
        yield from ((f"{method}_{name}", own) for name, own in data.items() if own)


def register(tool: str, overrides: Sequence[str] = ()) -> None:
    """Register with Hydra the configs that are not stored as files in configs/.

    The overrides of the command line may name learners, sources and studies of other packages.
    """
    Plugins.instance().register(_RegisteredFirst)
    OmegaConf.register_new_resolver("ssl_norm.broken_file", _raise_broken, replace=True)
    store = ConfigStore.instance().store
    store(tool, defaults_of(MODELS[tool]), group="schema")
    chosen = dict(override.partition("=")[::2] for override in overrides)
    _check_files(tool, chosen)
    foreign = {
        group: [name for name in chosen.get(group, "").split(",") if is_reference(name)]
        for group in REGISTRIES
    }
    for group in REGISTRIES:
        for name in (*_options(group), *foreign[group]):
            own = {k: v for k, v in _file(group, name).items() if k not in OWN_KEYS}
            if group == "method":
                own = _with_norms_of_heads(own)
            store(name, own, group=group, package="_global_" if group == "method" else None)
    for name, views in _all_views(foreign["method"]):
        store(name, dict(views), group="augment")
    for method in _options("method"):
        for data, recipe in _file("method", method).get("recipes", {}).items():
            store(f"{method}_{data}", recipe, group="recipe", package="_global_")
    for name in chosen.get("study", "").strip("'\"").split(","):
        if name in studies_of(tool):
            store(name, read_study(name).settings, group="study", package="_global_")


def _with_norms_of_heads(own: dict[str, Any]) -> dict[str, Any]:
    """Add `norm.predictor=none` to the file of a learner without a predictor."""
    learner = own.get("method", {}).get("name", "")
    heads = heads_of(learner) if learner and "predictor" not in own.get("norm", {}) else ()
    if not heads or "predictor" in heads:
        return own
    return {**own, "norm": {"predictor": "none", **own.get("norm", {})}}


def _check_files(tool: str, chosen: Mapping[str, str]) -> None:
    """Raise UserError if a chosen file is unreadable or an added one replaces the tool's."""
    for folder in added_folders():
        if (folder / f"{tool}.yaml").exists():
            raise UserError(
                f"{folder / tool}.yaml would replace the tool's own file; "
                f"put settings into {folder / 'study'}/<name>.yaml and add study=<name>"
            )
    for group in chosen.keys() & groups_of(tool).keys():
        paths = (find_file(group, name.strip(" '\"")) for name in chosen[group].split(","))
        for path in filter(None, paths):
            read_file(path)


def defaults_of(model: type[Settings]) -> dict[str, Any]:
    """Return the nested defaults of settings as plain containers; required settings have none."""
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    return model.model_construct().model_dump(mode="json", exclude=required)


def learner_values(method: str, data: str) -> dict[str, Any]:
    """Return a learner's own settings from its file, with its recipe for a data set."""
    contents = _file("method", method)
    recipe = contents.get("recipes", {}).get(data, {})
    merged: Any = OmegaConf.to_container(
        OmegaConf.merge(contents.get("method", {}), recipe.get("method", {}))
    )
    return dict(merged)


def register_arms(study: Study) -> None:
    """Register the arms of a study as options of the group `arm`."""
    store = ConfigStore.instance()
    store.repo.pop("arm", None)
    for arm, lines in study.arms.items():
        store.store(arm, _node_of(study, arm, lines), group="arm", package="_global_")


def _node_of(study: Study, arm: str, lines: Sequence[str]) -> dict[str, Any]:
    """Return an arm as a config: groups override the defaults list, other settings are values."""
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
    plain: Any = OmegaConf.to_container(values)
    return {"defaults": ["_self_", *groups], **plain}


def composed_values(tool: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the nested values of a command; required settings may be missing."""
    register(tool, overrides)
    chosen = dict(override.partition("=")[::2] for override in overrides)
    if chosen.get("study") and read_study(chosen["study"]).arms:
        register_arms(read_study(chosen["study"]))
    with one_line_errors(), initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        composed = compose(tool, [forced(override, tool) for override in overrides])
        values: Any = OmegaConf.to_container(composed, resolve=True)
    return dict(values)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error of Hydra or OmegaConf about settings into a UserError of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    """Return one line about why Hydra refuses a command line."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return unknown_choice(group, option, tuple(error.options or ()))
    if isinstance(error, OverrideParseException):
        override = error.override.lstrip("+")
        return (
            f"cannot read '{override}': expected key=value, with quotes around special characters"
        )
    if ambiguous := re.match(r"Ambiguous value for argument '\+*(.*)'", str(error)):
        return f"{ambiguous[1]}: one value expected; put a list in [ ], and -m before a sweep"
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
        if isinstance(cause, UserError):  # about a broken file
            return str(cause)
    cause = error.__cause__ or error
    key, line = getattr(cause, "full_key", None), str(cause).splitlines()[0].replace("'++", "'")
    return f"{key}: {line[0].lower()}{line[1:]}" if key else line


def given_keys(tool: str, typed: Sequence[str]) -> list[str]:
    """Return the dotted keys that the user set by typing, by files of added folders or by a study.

    Settings that the arms of a study share do not count, because some arms may not use them.
    """
    groups, lines = {*groups_of(tool), "arm"}, list(typed)
    chosen = dict(setting.partition("=")[::2] for setting in typed)
    given: dict[str, Any] = {}
    if chosen.get("study") in study_tools():
        study = read_study(chosen["study"])
        given |= {} if study.arms else study.settings
        lines += study.arms.get(chosen.get("arm", ""), [])
    for group, name in chosen.items():
        path = find_file(group, name)
        if path is not None and path.parent.parent in added_folders():
            own = {k: v for k, v in _contents(path).items() if k not in OWN_KEYS}
            given |= own if group in ("method", "study") else {group: own}
    for setting in OverridesParser.create().parse_overrides(lines):
        if setting.key_or_group not in groups:
            given[setting.key_or_group] = setting.value()
    return [key for key in flatten(given) if key.split(".")[0] not in ("defaults", "study")]


def check_choice(group: str, value: str, tool: str) -> None:
    """Raise UserError unless a group has each option; those of a sweep are separated by commas."""
    if re.search(r"[($]", value):  # Hydra reads functions and interpolations
        return
    options = groups_of(tool)[group]
    for option in (typed.strip(" '\"") for typed in value.split(",")):
        if option in options or (is_reference(option) and group != "study"):
            continue
        if group == "study" and option in study_tools():
            other = read_study(option).tool
            raise UserError(
                f"study={option} is for another tool: python tools/{other}.py -m study={option}"
            )
        raise UserError(unknown_choice(group, option, options))


def unknown_choice(group: str, option: str, options: Sequence[str]) -> str:
    """Return the message for an option that a group does not have."""
    message = unknown_name(group, option, options)
    if group == "encoder":
        return f"{message} (any other encoder: encoder.name=...)"
    return message + reference_hint(option)


def compose_settings(tool: str, *overrides: str) -> Any:
    """Return the checked settings of a command."""
    return validate(tool, composed_values(tool, overrides))


def with_values(
    tool: str, values: Mapping[str, Any], changes: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Return the nested values below `prefix` with changes to keys or dotted keys.

    If the change of a section is a mapping, it changes only the keys that it names.
    """
    merged = dict(values)
    for dotted, change in changes.items():
        key, _, below = dotted.partition(".")
        field = find_field(MODELS[tool], f"{prefix}{key}".split("."))[1]
        is_section = field is not None and model_of(field.annotation) is not None
        nested = {below: change} if below else change
        if (below or is_section) and isinstance(nested, Mapping):
            before = merged.get(key) if isinstance(merged.get(key), Mapping) else {}
            merged[key] = with_values(tool, before or {}, nested, f"{prefix}{key}.")
        else:
            merged[key] = change
    return merged


def forced(override: str, tool: str) -> str:
    """Return an override that sets a key whether or not the composition has it yet."""
    key = override.partition("=")[0]
    is_group = key.split("@")[0] in {*groups_of(tool), "arm"}
    return override if is_group or key.startswith(("hydra", "+", "~")) else f"++{override}"
