"""Registries of names: built in, from entry points, registered in Python, or `module:object`."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ssl_norm.names import unknown_name


class Registry(Mapping[str, Any]):
    """Names of one kind of thing and the places of their declarations. Needs no torch.

    Wherever a name may be given, `module:object` of any importable module may be given instead.
    Other packages add names with an entry point in the group `ssl_norm.<kind>s`
    (`ssl_norm.losses` for losses).

    Args:
        kind: noun for messages and for the group of entry points, for example `norm`.
        entries: names and their `module:object`.

    Example:
        >>> shapes = Registry("shape", {"path": "pathlib:Path"})
        >>> shapes.load("path").__name__, shapes.load("fractions:Fraction").__name__
        ('Path', 'Fraction')
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = dict(entries)
        self._built_in = frozenset(entries)

    @property
    def built_in(self) -> tuple[str, ...]:
        """Names of this package, in their order."""
        return tuple(name for name in self._entries if name in self._built_in)

    def register(self, name: str, target: Any) -> None:
        """Add a name for an object, or for `module:object`, until the process ends.

        Raises:
            ValueError: the name is built in.
        """
        if name in self._built_in:
            raise ValueError(f"{self.kind} '{name}' is built in; register another name")
        self._entries[name] = target

    def __getitem__(self, name: str) -> Any:
        return self._entries[name] if name in self._entries else _plugins(self.kind)[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._entries, **_plugins(self.kind)})

    def __len__(self) -> int:
        return len({**self._entries, **_plugins(self.kind)})

    def check(self, name: object, what: str | None = None) -> None:
        """Raise ValueError unless a name is known or has the form `module:object`.

        Args:
            name: the name as given.
            what: noun of the message, for example a key; None: the kind.
        """
        if name not in self and not is_reference(name):
            raise ValueError(unknown_name(what or self.kind, name, self))

    def load(self, name: str) -> Any:
        """Return the object of a name or of `module:object`; this imports its module.

        Raises:
            ValueError: the name is unknown, or there is no such module or object.
        """
        self.check(name)
        target = self.get(name, name)
        return load_object(target, self.kind) if isinstance(target, str) else target


def is_reference(name: object) -> bool:
    """Return whether a name has the form `module:object`."""
    if not isinstance(name, str):
        return False
    module, colon, target = name.partition(":")
    parts = [*module.split("."), *target.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def load_object(reference: str, kind: str = "object") -> Any:
    """Return the object that `module:object` names.

    Raises:
        ValueError: the module cannot be imported or lacks the object; the message names both.
    """
    module_name, _, path = reference.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f"{kind} '{reference}': there is no module '{error.name}' to import; "
            "install its package or add its folder to PYTHONPATH"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(found) if not name.startswith("_")]
            raise ValueError(f"{kind} '{reference}': {unknown_name('object', part, names)}")
        found = getattr(found, part)
    return found


@cache
def _plugins(kind: str) -> dict[str, str]:
    """Return names and targets of the entry points of other packages."""
    plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return {point.name: point.value for point in entry_points(group=f"ssl_norm.{plural}")}
