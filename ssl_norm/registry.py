"""Registries of objects by name: built-in names, entry points, and names added in Python."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from traceback import extract_tb
from types import MappingProxyType, ModuleType
from typing import Any

from ssl_norm.errors import UserError
from ssl_norm.names import reference_hint, unknown_name


class Registry(Mapping[str, Any]):
    """Names of one kind of object, each with its `module:object`, which is imported when needed.

    Wherever a name is valid, `module:object` of any importable module is also valid. Other packages
    add names by entry points in the group `ssl_norm.<kind>s` (`ssl_norm.losses` for losses).

    Args:
        kind: noun for messages and for the group of entry points, for example `norm`.
        entries: names and their `module:object`.
        expects: phrase that describes the objects in messages.
        base: `module:class` from which classes must be derived; "": any class.
        only_classes: whether functions are refused.
        arguments: number of positional arguments of the objects; None: any.
        attributes: names of attributes that objects must have, with the `module:class` of each.
        methods: methods that classes must define, each with the names of its arguments.
        trial: `module:function` that is called with an object, and raises ValueError on a misfit.

    Example:
        >>> shapes = Registry("shape", {"path": "pathlib:Path"})
        >>> shapes.load("path").__name__, shapes.load("fractions:Fraction").__name__
        ('Path', 'Fraction')
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str],
        *,
        expects: str = "a class or function",
        base: str = "",
        only_classes: bool = False,
        arguments: int | None = None,
        attributes: Mapping[str, str] = MappingProxyType({}),
        methods: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        trial: str = "",
    ) -> None:
        self.kind, self.expects = kind, expects
        self._base, self._only_classes = base, only_classes
        self._arguments, self._attributes, self._methods = arguments, attributes, methods
        self._trial = trial
        self._entries: dict[str, Any] = dict(entries)
        self._built_in = frozenset(entries)

    @property
    def built_in(self) -> tuple[str, ...]:
        """Names of this package, in the order of `entries`."""
        return tuple(name for name in self._entries if name in self._built_in)

    def register(self, name: str, target: Any) -> None:
        """Add a name for an object or `module:object`, until the process ends."""
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
        """Raise ValueError on `what` or the kind unless a name is known or is `module:object`."""
        if name not in self and not is_reference(name):
            raise ValueError(unknown_name(what or self.kind, name, self) + reference_hint(name))

    def load(self, name: str) -> Any:
        """Return the object of a name or of `module:object`; this imports its module.

        Raises:
            ValueError: the name is unknown, the module or object does not exist, its import fails,
                or the object is of another kind.
        """
        self.check(name)
        target = self.get(name, name)
        found = load_object(target, self.kind) if isinstance(target, str) else target
        if name not in self._built_in:
            self._check_object(name, found)
        return found

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return the result of the object of a name.

        Raises:
            UserError: the object is of another package and fails, except by a ValueError, or it is
                a module whose `__init__` does not call that of `nn.Module`.
        """
        target = self.load(name)
        if name in self._built_in:
            return target(*arguments, **options)
        with self.blaming(name, target, passed=ValueError):
            result = target(*arguments, **options)
            if hasattr(result, "named_modules"):  # of a module, and fails without its __init__
                dict(result.named_modules())
        return result

    def describe(self, name: str, target: Any) -> str:
        """Return the kind and the name of an object, and its package if the name does not tell."""
        package = getattr(target, "__module__", "").partition(".")[0]
        of = f" of {package}" if name not in self._built_in and ":" not in name else ""
        return f"{self.kind} '{name}'{of}"

    @contextmanager
    def blaming(
        self, name: str, target: Any, *, passed: type[Exception] = UserError
    ) -> Iterator[None]:
        """Turn an error inside an object of another package into one line with its place.

        Errors of the type `passed`, and all of objects of this package, stay as they are.
        """
        try:
            yield
        except Exception as error:
            if name in self._built_in or isinstance(error, passed):
                raise
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            if "Module.__init__() call" in text or "'_modules'" in text:
                text += "; call super().__init__() first in __init__"
            place = _place(error, getattr(target, "__module__", ""))
            raise UserError(f"{self.describe(name, target)} fails{place}: {text}") from error

    def load_all(self) -> dict[str, Any]:
        """Return all objects by name; print a warning if one of another package does not load."""
        found = {name: self._load_or_warn(name) for name in self}
        return {name: target for name, target in found.items() if target is not None}

    def _load_or_warn(self, name: str) -> Any:
        try:
            return self.load(name)
        except ValueError as error:
            return _warn(self.kind, name, str(error))

    def _check_object(self, name: str, found: Any) -> None:
        """Raise ValueError unless an object of another package has the declared form."""
        is_class = isinstance(found, type)
        fits = is_class or (callable(found) and not self._only_classes)
        if fits and is_class and self._base:
            fits = issubclass(found, load_object(self._base))
        attributes = self._attributes.items() if fits else ()
        fits = fits and all(
            isinstance(getattr(found, key, None), load_object(kind)) for key, kind in attributes
        )
        missing = self._missing_method(found) if fits and is_class else ""
        if not fits or missing or not _takes(found, self._arguments):
            what = "the class" if is_class else f"a {type(found).__name__}"
            what = f"{what} {getattr(found, '__qualname__', '')}".strip() + missing
            raise ValueError(f"{self.kind} '{name}' is {what}; {self.expects} expected")
        from ssl_norm.signature import options_of

        try:
            options_of(found)
        except (NameError, AttributeError, SyntaxError) as error:
            raise ValueError(
                f"{self.kind} '{name}': its annotations cannot be evaluated: {error}"
            ) from error
        if self._trial:
            with self.blaming(name, found, passed=ValueError):
                load_object(self._trial)(found)

    def _missing_method(self, found: type) -> str:
        """Return the first method that a class does not define with its arguments, or ""."""
        base = load_object(self._base) if self._base else object
        for method, arguments in self._methods.items():
            own = getattr(found, method, None)
            is_own = callable(own) and own is not getattr(base, method, None)
            if not is_own or not _takes(own, len(arguments) + 1):
                return f" without a method {method}({', '.join(arguments)})"
        return ""


def _takes(function: Any, count: int | None) -> bool:
    """Return whether a function or class can be called with a number of positional arguments."""
    if count is None:
        return True
    try:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        signature.replace(parameters=positional).bind(*[None] * count)
    except (ValueError, TypeError):  # a function written in C, or with other arguments
        return False
    return True


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
        ValueError: the reference has another form, its module cannot be imported, or the module
            lacks the object.
    """
    if not is_reference(reference):
        raise ValueError(f"{kind} '{reference}': the form module:object expected")
    module_name, _, path = reference.partition(":")
    found: Any = _import(module_name, f"{kind} '{reference}'")
    for part in path.split("."):
        if not hasattr(found, part):
            names = [
                name
                for name, value in vars(found).items()
                if not name.startswith("_") and not isinstance(value, ModuleType)
            ]
            raise ValueError(f"{kind} '{reference}': {unknown_name('object', part, names)}")
        found = getattr(found, part)
    return found


def _import(module: str, what: str) -> ModuleType:
    """Import a module; raise ValueError if this fails for a module of another package."""
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{what}: there is no module '{error.name}' to import; "
                "install its package or add its folder to PYTHONPATH"
            ) from error
        if module.startswith("ssl_norm."):
            raise
        text = " ".join(str(error).split())
        raise ValueError(
            f"{what}: importing {module} fails{_place(error, module)}: "
            f"{type(error).__name__}: {text}"
        ) from error


def _place(error: BaseException, module: str) -> str:
    """Return file and line of the last call in a package, from the traceback of an error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {error.filename}, line {error.lineno}"
    top = module.partition(".")[0]
    found = [(Path(f.filename), f.lineno) for f in extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in found if top in (*file.parts, file.stem)]
    return f" in {own[-1][0]}, line {own[-1][1]}" if own else ""


@cache
def _plugins(kind: str) -> dict[str, str]:
    """Return the `module:object` of entry points of other packages, by name."""
    return {point.name: point.value for point in _entry_points(kind)}


def _entry_points(kind: str) -> Any:
    plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return entry_points(group=f"ssl_norm.{plural}")


@cache
def _warn(kind: str, name: str, message: str) -> None:
    """Print once that an entry point or a registered object is omitted."""
    from ssl_norm.console import say

    of = next((f" of {p.dist.name}" for p in _entry_points(kind) if p.name == name and p.dist), "")
    say(f"warning: {message}; the entry point '{name}'{of} is omitted")
