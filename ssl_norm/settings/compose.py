"""Composition of settings from configs/ and the command line by Hydra."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_norm.data.registry import DATA
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.models.catalogue import ENCODERS, LIBRARIES
from ssl_norm.names import reference_hint, unknown_name
from ssl_norm.option_errors import find_field, model_of
from ssl_norm.options import Settings
from ssl_norm.registry import is_reference
from ssl_norm.settings.folder import (
    CONFIG_FOLDER,
    add_folder,
    added_folders,
    find_file,
    names_in,
    read_file,
)
from ssl_norm.settings.method import heads_of
from ssl_norm.settings.models import MODELS, validate
from ssl_norm.settings.study import Study, read_study, studies_of, study_tools
from ssl_norm.text import flatten

OWN_KEYS = ("views", "recipes")  # keys in configs/method and configs/data that this module reads
REGISTRIES = {"method": METHODS, "data": DATA, "encoder": ENCODERS}
GLOBAL = ("method", "recipe", "study", "arm")  # groups whose files hold settings of any section
_with_arms: list[Study] = []  # the study whose arms are the options of the group `arm`


class _Configs(ConfigSource):
    """The configs that differ from a file of configs/, each made when Hydra asks for it."""

    @staticmethod
    def scheme() -> str:
        return "ssl_norm"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in ("schema", "augment", *GLOBAL, *REGISTRIES)

    def is_config(self, config_path: str) -> bool:
        return _config(config_path) is not None

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [] if results_filter == ObjectType.GROUP else sorted(choices(config_path))

    def load_config(self, config_path: str) -> ConfigResult:
        package = "_global_" if config_path.partition("/")[0] in GLOBAL else None
        config = OmegaConf.create(_config(config_path) or {})
        return ConfigResult(self.provider, config_path, config, {"package": package})

    def __reduce__(self) -> Any:  # a launcher such as joblib sends it to other processes
        return _restored, (added_folders(), tuple(_with_arms))


def _restored(folders: Sequence[Path], with_arms: Sequence[Study]) -> _Configs:
    for folder in reversed(folders):
        add_folder(str(folder))
    _with_arms[:] = with_arms
    return _Configs("ssl_norm", "ssl_norm://")


class _SearchPath(SearchPathPlugin):
    """Give these configs precedence over files, which also have keys that are not settings."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(added_folders()):
            search_path.prepend("user", f"file://{folder}")
        search_path.prepend("ssl_norm", "ssl_norm://")


@cache
def groups_of(tool: str) -> tuple[str, ...]:
    """Return the config groups of a tool.

    They are the named entries of `defaults` in `configs/<tool>.yaml`, without `optional` entries,
    which follow from other choices, and without arms, which follow from the study.
    """
    defaults = read_file(CONFIG_FOLDER / f"{tool}.yaml")["defaults"]
    names = [name for entry in defaults if isinstance(entry, dict) for name in entry]
    return tuple(n for n in names if not n.startswith("optional ") and n != "arm")


def choices(group: str, tool: str = "pretrain") -> tuple[str, ...]:
    """Return the options of a config group; those of `study` are the studies of a tool."""
    if group == "study":
        return tuple(studies_of(tool))
    if group == "arm":
        return tuple(arm for study in _with_arms for arm in study.arms)
    if group == "augment":
        methods, kinds = choices("method"), ["", "_small"]
        kinds += [f"_{name}" for name in choices("data") if _has_views(name)]
        return tuple(f"{method}{kind}" for method in methods for kind in kinds)
    registered = [name for name in REGISTRIES.get(group, ()) if name not in LIBRARIES]
    return tuple(dict.fromkeys([*names_in(group), *registered]))


def _has_views(data: str) -> bool:
    """Return whether a data set defines views for all learners; a broken file defines none."""
    try:
        return "views" in _file("data", data)
    except UserError:
        return False


def _config(path: str) -> dict[str, Any] | None:
    """Return the values of `group/option`; None if they are those of a file, or if there are none.

    An option may be `module:object` of another package.
    """
    group, _, name = path.removesuffix(".yaml").rpartition("/")
    if group == "schema":
        return defaults_of(MODELS[name])
    if group == "study" and find_file("study", name):
        return read_study(name).settings
    if group == "arm":
        return next((_arm(s, name) for s in _with_arms if name in s.arms), None)
    if group == "augment":
        return _views(name)
    if group == "recipe":
        return _recipe(name)
    if group in REGISTRIES and _is_option(group, name):
        own = {key: value for key, value in _file(group, name).items() if key not in OWN_KEYS}
        return _with_norms_of_heads(own) if group == "method" else own
    return None


def _is_option(group: str, name: str) -> bool:
    return is_reference(name) or name in choices(group)


def _views(name: str) -> dict[str, Any] | None:
    """Return the views of `<method>` for photographs, or of `<method>_small` for up to 64 px.

    If a data set defines views, all methods have them as `<method>_<data>`.
    """
    for data in choices("data"):
        method = name.removesuffix(f"_{data}")
        if method != name and _is_option("method", method) and "views" in _file("data", data):
            return dict(_file("data", data)["views"])
    method = name if name in choices("method") else name.removesuffix("_small")
    if not _is_option("method", method):
        return None
    views = _file("method", method).get("views", {})
    return dict(views.get("full" if method == name else "small", views.get("full", {})))


def _recipe(name: str) -> dict[str, Any] | None:
    """Return the settings of `<method>_<data>` in the file of the method."""
    for method in choices("method"):
        data = name.removeprefix(f"{method}_")  # of a and a_b, only one has a recipe for it
        if data != name and data in (recipes := _file("method", method).get("recipes", {})):
            return dict(recipes[data])
    return None


def _file(group: str, name: str) -> Mapping[str, Any]:
    """Return the contents of an option's file, or only the name if it has no file."""
    path = find_file(group, name)
    if path is not None:
        return _contents(path)
    return {"method": {"name": name}} if group == "method" else {"name": name}


@cache
def _contents(path: Path) -> Mapping[str, Any]:
    found = read_file(path, *OWN_KEYS, "method")
    if path.parent.name == "method":
        read_file(path, *(f"{key}.{name}" for key in OWN_KEYS for name in found.get(key, ())))
    return found


def _with_norms_of_heads(own: dict[str, Any]) -> dict[str, Any]:
    """Add `norm.predictor=none` to the file of a learner without a predictor."""
    learner = own.get("method", {}).get("name", "")
    heads = heads_of(learner) if learner and "predictor" not in own.get("norm", {}) else ()
    if not heads or "predictor" in heads:
        return own
    return {**own, "norm": {"predictor": "none", **own.get("norm", {})}}


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


def _arm(study: Study, arm: str) -> dict[str, Any]:
    """Return an arm as a config: groups override the defaults list, other settings are values."""
    try:
        settings = OverridesParser.create().parse_overrides(study.arms[arm])
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


@contextmanager
def started(tool: str, settings: Sequence[str] = ()) -> Iterator[Hydra]:
    """Start Hydra with the settings of a tool, and with the arms of the study that is chosen."""
    for folder in added_folders():
        if (folder / f"{tool}.yaml").exists():
            raise UserError(
                f"{folder / tool}.yaml would replace the tool's own file; "
                f"put settings into {folder / 'study'}/<name>.yaml and add study=<name>"
            )
    study = typed_values(settings).get("study", "").strip(" '\"")
    _with_arms[:] = [read_study(study)] if find_file("study", study) else []
    for plugin in (_Configs, _SearchPath):
        Plugins.instance().register(plugin)
    with one_line_errors(), initialize_config_dir(str(CONFIG_FOLDER), tool, version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        yield hydra


def composed_values(tool: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the nested values of a command; required settings may be missing."""
    with started(tool, overrides):
        composed = compose(tool, [forced(override, tool) for override in overrides])
        values: Any = OmegaConf.to_container(composed, resolve=True)
    return dict(values)


def typed_values(settings: Sequence[str]) -> dict[str, str]:
    """Return the typed text of each `key=value` by key."""
    return dict(setting.partition("=")[::2] for setting in settings)


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
    chosen = typed_values(typed)
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


def typed_options(value: str) -> list[str]:
    """Return the options that a value names, separated by commas; none if Hydra evaluates it."""
    return [] if re.search(r"[($]", value) else [name.strip(" '\"") for name in value.split(",")]


def check_choice(group: str, value: str, tool: str) -> None:
    """Raise UserError unless a group has each option; those of a sweep are separated by commas."""
    options = choices(group, tool)
    for option in typed_options(value):
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
