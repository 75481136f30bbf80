"""Options of functions and classes: keyword-only parameters with ranges, defaults and meanings."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from annotated_types import Interval

from ssl_norm.names import unknown_name

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ssl_norm.registry import Registry

REQUIRED = inspect.Parameter.empty
# Names that annotations may contain if they are read from source.
TYPES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bool, int, float, str, list, tuple, dict)},
    **{"Annotated": Annotated, "Interval": Interval, "Literal": Literal},
}
ATTRIBUTE = re.compile(r"\.[A-Za-z_]")


@dataclass(frozen=True)
class Option:
    """A keyword-only parameter."""

    name: str
    annotation: Any  # type with range or choices
    default: Any  # `REQUIRED` if there is no default
    text: str = ""  # meaning, from the section `Args:` of the docstring


Declared = Callable[..., Any] | str  # an object, or its `module:object`, which is not imported


@cache
def options_of(declared: Declared) -> Mapping[str, Option]:
    """Return the keyword-only parameters of a function or of a class and its bases.

    If a constructor has `**options`, the parameters of the next class in the method resolution
    order are included. If source is parsed, these are the bases that are imported by `from ...
    import`, and a default that only an import could evaluate is its source text.
    """
    if isinstance(declared, str):
        return _options_in_source(declared)
    options: dict[str, Option] = {}
    for function, documented in _signatures(declared):
        texts = argument_texts(inspect.getdoc(documented) or "")
        parameters = inspect.signature(function).parameters.values()
        own = {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        written = {name: p.annotation for name, p in own.items() if p.annotation is not REQUIRED}
        namespace = getattr(inspect.unwrap(function), "__globals__", {})
        hints = get_type_hints(
            SimpleNamespace(__annotations__=written), namespace, include_extras=True
        )
        for name, parameter in own.items():
            found = Option(name, hints.get(name, Any), parameter.default, texts.get(name, ""))
            options.setdefault(name, found)
    return options


def _signatures(declared: Callable[..., Any]) -> list[tuple[Callable[..., Any], Any]]:
    """Return each function that has options, with the object whose docstring describes them."""
    if not inspect.isclass(declared):
        return [(declared, declared)]
    found: list[tuple[Callable[..., Any], Any]] = []
    for base in inspect.getmro(declared):
        constructor = vars(base).get("__init__")
        if base is object or not inspect.isfunction(constructor):
            continue
        found.append((constructor, base))
        kinds = {p.kind for p in inspect.signature(constructor).parameters.values()}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return found


def _options_in_source(target: str) -> Mapping[str, Option]:
    options: dict[str, Option] = {}
    for function, texts, module in _read_signatures(target):
        arguments = function.args
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            name, type_ = argument.arg, _value_of(argument.annotation, module)
            value = REQUIRED if default is None else _value_of(default, module)
            value = ast.unparse(default) if default and value is Any else value
            options.setdefault(name, Option(name, type_, value, texts.get(name, "")))
    return options


def _value_of(node: ast.expr | None, module: ast.Module) -> Any:
    """Evaluate an expression, such as a type or a number; `Any` if this needs an import."""
    if node is None:
        return Any
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    assigned = {
        target.id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    imported = _imports(module)
    scope: dict[str, Any] = {}
    for name in names:
        if name in TYPES:
            scope[name] = TYPES[name]
        elif name in assigned:
            scope[name] = _value_of(assigned[name], module)
        elif name in imported:
            source, _, original = imported[name].partition(":")
            scope[name] = _value_of(ast.Name(original, ast.Load()), _read_module(source))
        if scope.get(name, Any) is Any:
            return Any
    text = ast.unparse(node)
    return eval(text, {"__builtins__": {}}, scope) if not ATTRIBUTE.search(text) else Any


def positional_of(declared: Declared) -> tuple[str, ...]:
    """Return the names of required positional parameters, without `self`."""
    if not isinstance(declared, str):
        parameters = inspect.signature(declared).parameters.values()
        positional = (p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return tuple(p.name for p in positional if p.default is REQUIRED)
    for function, _, _ in _read_signatures(declared):
        arguments = [*function.args.posonlyargs, *function.args.args]
        count = len(arguments) - len(function.args.defaults)
        return tuple(a.arg for a in arguments[:count] if a.arg != "self")
    return ()


def _read_signatures(target: str) -> Iterator[tuple[ast.FunctionDef, dict[str, str], ast.Module]]:
    """Yield each function that has options, with the texts on its arguments and its module."""
    module_name, _, name = target.partition(":")
    module = _read_module(module_name)
    nodes = {n.name: n for n in module.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    imported = _imports(module)
    node = nodes.get(name)
    if node is None:
        if imported.get(name, target) != target:  # unequal, because torch imports nn from itself
            yield from _read_signatures(imported[name])
        elif name not in imported:
            for source in _imported_whole(module):
                yield from _read_signatures(f"{source}:{name}")
        return
    texts = argument_texts(ast.get_docstring(node) or "")
    if isinstance(node, ast.FunctionDef):
        yield node, texts, module
        return
    functions = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    constructor = functions.get("__init__")
    if constructor is not None:
        yield constructor, texts, module
    if constructor is None or constructor.args.kwarg:
        for base in node.bases:
            if isinstance(base, ast.Name):
                yield from _read_signatures(imported.get(base.id, f"{module_name}:{base.id}"))


def argument_names(declared: str) -> list[str]:
    """Return the names of all parameters of a class, read from source; none if there are `**`."""
    functions = [function.args for function, _, _ in _read_signatures(declared)]
    if any(arguments.kwarg for arguments in functions):
        return []
    return [a.arg for arguments in functions for a in (*arguments.args[1:], *arguments.kwonlyargs)]


def imported_names(module: str) -> list[str]:
    """Return the names that a module imports from others, such as a package from its modules."""
    return list(_imports(_read_module(module)))


@cache
def _imports(module: ast.Module) -> Mapping[str, str]:
    """Return the `module:object` of each name that a module imports by `from ... import`."""
    return {
        (alias.asname or alias.name): f"{statement.module}:{alias.name}"
        for statement in ast.walk(module)
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }


def _imported_whole(module: ast.Module) -> list[str]:
    """Return the modules of each `from ... import *`."""
    statements = [s for s in module.body if isinstance(s, ast.ImportFrom)]
    return [str(s.module) for s in statements if s.names[0].name == "*"]


@cache
def _read_module(name: str) -> ast.Module:
    """Return the syntax tree of a module, with absolute imports; empty if there is no source."""
    path = _file_of(name)
    if path is None:
        return ast.Module([], [])
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):  # an import gives a better message
        return ast.Module([], [])
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.level:
            node.module = resolve_name("." * node.level + (node.module or ""), package)
    return module


def _file_of(name: str) -> Path | None:
    """Return the source file of a module without importing its packages."""
    top, *below = name.split(".")
    spec = find_spec(top) if top != "__main__" else None
    if spec is None:
        return None
    if not below:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    folders = [Path(folder, *below) for folder in spec.submodule_search_locations or ()]
    files = [file for f in folders for file in (f.with_suffix(".py"), f / "__init__.py")]
    return next((file for file in files if file.is_file()), None)


def argument_texts(docstring: str) -> dict[str, str]:
    r"""Return the text of each argument in `Args:` or `Attributes:` of a Google-style docstring.

    Roles of Sphinx become names in backticks. A single sentence has no full stop.

    Example:
        >>> argument_texts("Scale.\n\nArgs:\n    x: input.\n    k: factor,\n        positive.\n")
        {'x': 'input', 'k': 'factor, positive'}
    """
    section = re.search(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n?|\n)*)", docstring, re.M)
    texts: dict[str, str] = {}
    for line in inspect.cleandoc(section[1]).splitlines() if section else ():
        if match := re.match(r"\*{0,2}(\w+): *(.*)", line):
            texts[name := match[1]] = match[2]
        elif texts and line.strip():
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return {name: _plain(text) for name, text in texts.items()}


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text)
    return text if ". " in text else text.removesuffix(".")


def check_options(declared: Declared, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of options, converted to the types in the signature of `declared`.

    A `module:object` is parsed and not imported. `where` names the object in messages, such as
    `norm 'bn'`.

    Raises:
        TypeError: there is no such option; the message names the nearest.
        ValueError: a value is outside the range or the choices of its option.
    """
    from pydantic import ValidationError

    model = options_model(declared)
    for name in values:
        if name not in model.model_fields:
            raise TypeError(unknown_name(f"option of {where}", name, model.model_fields))
    try:
        checked = model.model_validate(dict(values))
    except ValidationError as error:
        from ssl_norm.option_errors import line_of

        raise ValueError(f"{where}: {line_of(error, model)}") from error
    return {name: getattr(checked, name) for name in values}


@cache
def options_model(declared: Declared) -> "type[BaseModel]":
    """Return the pydantic model of the options of a function or class, or of `module:object`."""
    from ssl_norm.options import model_from

    return model_from(getattr(declared, "__name__", "Options"), options_of(declared).values())


def declared_options(registry: "Registry", name: str) -> Mapping[str, Option]:
    """Return the options of a registered name or of `module:object`, which is not imported."""
    return options_of(registry.get(name, name))
