"""Settings of a run that a command continues."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from ssl_norm.console import say
from ssl_norm.errors import UserError
from ssl_norm.settings.compose import groups_of, with_values
from ssl_norm.settings.resume import may_change_on_resume, restore
from ssl_norm.train.run_folder import RunFolder


def continued(values: dict[str, Any], tool: str, typed: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the run to continue, overridden by those typed on the command line.

    If the command selects an option of a config group, such as method=byol, the composed values are
    returned unchanged, because the option sets keys that the user did not type.
    """
    if not values.get("resume") or values.get("run_dir") is None:
        return values
    folder = RunFolder(values["run_dir"])
    settings = {
        setting.key_or_group: setting.value()
        for setting in OverridesParser.create().parse_overrides(list(typed))
    }
    if not settings.keys().isdisjoint({*groups_of(tool), "arm"}):
        return values
    saved = _saved_settings(folder)
    if saved is None:
        if all(may_change_on_resume(tool, key) for key in settings):
            raise UserError(
                f"run_dir={folder} contains no run to resume; check the path, or give the settings "
                "of a new run"
            )
        return values
    try:
        before = restore(tool, saved).model_dump(mode="json")
    except UserError as error:
        place = folder / "config.yaml"
        raise UserError(
            f"{place} was not written by this version of tools/{tool}.py: {error}"
        ) from error
    changes = {
        key: reduce(getitem, key.split("."), values)
        if isinstance(value, str) and "${" in value
        else value
        for key, value in settings.items()
    }
    return with_values(tool, before, changes)


def _saved_settings(folder: RunFolder) -> Mapping[str, Any] | None:
    if (folder / "config.yaml").exists():
        return folder.config()
    if not (folder / "last.pt").exists():
        return None
    say(f"warning: {folder / 'config.yaml'} is missing; the settings are read from last.pt")
    saved: Mapping[str, Any] = folder.checkpoint()["config"]
    return saved
