"""Norms by name, with options and weight standardization. Only building one needs torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ssl_norm.names import unknown_name
from ssl_norm.norms.registry import NORMS
from ssl_norm.registry import is_reference
from ssl_norm.signature import check_options, options_of
from ssl_norm.text import as_typed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class NormSpec:
    """A parsed norm. Its properties import the norm and torch; its fields do not."""

    name: str  # of `NORMS`, `module:object`, or the name of a class or function of the user
    options: Mapping[str, Any] = field(default_factory=dict)  # keyword options that are given
    weight_standardization: bool = False  # of the layer before the norm
    # Class or function of the user, called with `num_features`; None: the object of `name`.
    constructor: Callable[..., Any] | None = None

    @property
    def cls(self) -> Callable[..., Any]:
        """Class of the norm, or function that builds it from `num_features`."""
        if self.constructor is not None:
            return self.constructor
        found: Callable[..., Any] = NORMS.load(self.name)
        return found

    @property
    def batch_statistics(self) -> bool:
        """Return whether training mixes the samples of a batch; False if not declared."""
        return bool(getattr(self.cls, "mixes_samples", False))

    @property
    def vectors(self) -> bool:
        """Return whether the norm takes (N, C) inputs, as in heads; True if not declared."""
        return bool(getattr(self.cls, "vectors", True))

    @property
    def nonlinear(self) -> bool:
        """Return whether the norm replaces a norm and the activation after it."""
        return bool(getattr(self.cls, "nonlinear", False))

    @property
    def all_options(self) -> dict[str, Any]:
        """Values of all options of the norm, given or default."""
        if self.constructor is not None:
            return {}
        return {o.name: o.default for o in options_of(self.cls).values()} | dict(self.options)

    def option(self, name: str) -> Any:
        """Return the value of an option, given or default; None if the norm has no such option."""
        return self.all_options.get(name)

    def checked(self) -> "NormSpec":
        """Check the options against the signature of the norm, and return self.

        Raises:
            TypeError: the norm has no such option.
            ValueError: an option is out of its range, or `module:object` cannot be imported or is
                not a norm.
        """
        cls = self.cls
        if self.options:
            check_options(cls, self.options, f"norm '{self.name}'")
        return self

    @property
    def setting(self) -> str | dict[str, Any]:
        """The norm as in YAML files: a name, or a mapping with `name` and options."""
        name = self.name
        if self.constructor is not None:
            function = _named(self.constructor)
            name = f"{function.__module__}:{function.__qualname__}"
        name += "+ws" * self.weight_standardization
        return {"name": name, **self.options} if self.options else name

    def __str__(self) -> str:
        suffix = "+ws" if self.weight_standardization else ""
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}{suffix}" + (f"({options})" if options else "")

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.options), self.weight_standardization))


NormLike = str | Mapping[str, Any] | Callable[[int], Any] | NormSpec


def parse_norm(spec: NormLike) -> NormSpec:
    """Return the norm that a string (`gn+ws`) or a mapping (`{name: gn+ws, groups: 16}`) selects.

    The name is one of `NORMS` or `module:object`; a class or function of the user, which builds a
    layer from `num_features`, may be given instead. :meth:`NormSpec.checked` checks the options.

    Raises:
        ValueError: the name is unknown, or the mapping has no `name`.
        TypeError: `spec` is neither string, mapping nor callable.
    """
    if isinstance(spec, NormSpec):
        return spec
    if callable(spec):
        return NormSpec(_named(spec).__name__, constructor=spec)
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        raise TypeError(f"a norm is a name or a mapping with 'name', got {as_typed(spec)}")
    options = dict(spec)
    full_name = options.pop("name", None)
    if not isinstance(full_name, str):
        raise ValueError(f"a norm given as a mapping needs 'name', got {as_typed(spec)}")
    name, plus, suffix = full_name.partition("+")
    if (name in NORMS or is_reference(name)) and suffix == "ws" * bool(plus):
        return NormSpec(name, options, weight_standardization=bool(plus))
    known = [f"{known}+ws" for known in NORMS] if plus else NORMS
    raise ValueError(unknown_name("norm", full_name, known))


def make_norm(spec: NormLike, num_features: int) -> "nn.Module":
    """Return a new norm layer for `num_features` channels, of (N, C) or (N, C, *spatial).

    `spec` is as for :func:`parse_norm`. `+ws` concerns the layer before the norm, and has no effect
    here: pass that layer to
    :func:`ssl_norm.norms.layers.weight_standardization.standardize_weights`.

    Raises:
        ValueError: the name is unknown, an option is out of its range, or the norm cannot have that
            many channels.
        TypeError: the norm has no such option, or a function of the user builds no module.

    Example:
        >>> make_norm({"name": "gn", "groups": 4}, num_features=16).num_groups
        4
    """
    from torch import nn

    parsed = parse_norm(spec).checked()
    if parsed.constructor is not None:
        layer = parsed.constructor(num_features, **parsed.options)
    else:
        layer = NORMS.call(parsed.name, num_features, **parsed.options)
    if not isinstance(layer, nn.Module):
        raise TypeError(f"{parsed.name}(num_features) must return an nn.Module, got {layer!r}")
    return layer


def _named(norm: Callable[..., Any]) -> Any:
    """Return the class or function behind a functools.partial or a callable object."""
    function = getattr(norm, "func", norm)
    return function if hasattr(function, "__name__") else type(norm)
