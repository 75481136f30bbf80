"""Declarations of monitors, attached to their functions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ssl_norm.monitors import MONITORS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Facts about a monitor, for contract tests, runs, dashboard, reports and tables.

    Attributes:
        inputs: `embeddings` (N, D); `pair`, two of these that match by row; `views` (n, q, D); or
            `tokens` (N, T, D).
        prepares: preparation of the rows inside the function: it `normalizes` (L2-normalizes) them,
            `centres` them, does `both` in this order, or `nothing`.
        cost: `linear` O(N D); `quadratic` O(N D^2) or O(N^2 D); `spectral`, one more eigenvalue
            decomposition of the smaller of N and D.
        at_collapse: value if all embeddings are equal; NaN: undefined there.
        at_even: value, or a bound of it, if L2-normalized embeddings are spread evenly.
        equation: one line for the table of monitors; z: prepared rows, s: their singular values.
        source: paper.
        depends_on: transformations of all embeddings that change the value, although they are
            unrelated to collapse: `scale`, a common factor; `axes`, a rotation.
        in_runs: whether training runs measure it, on L2-normalized rows, and log it as a column.
        chart: title of its chart in TensorBoard; monitors with the same title share a chart, and so
            do all monitors without a title.
        label: heading in tables of a report; empty: not in tables.
        decimals: number of decimals in a report.
        of_normalized: the same value from L2-normalized rows, if that saves work.
        of_spectrum: function that computes the value from the covariance spectrum of prepared rows.
    """

    prepares: Literal["normalizes", "centres", "both", "nothing"]
    cost: Literal["linear", "quadratic", "spectral"]
    at_collapse: float
    at_even: str
    equation: str
    source: str
    inputs: Literal["embeddings", "pair", "views", "tokens"] = "embeddings"
    depends_on: tuple[Literal["scale", "axes"], ...] = ()
    in_runs: bool = True
    chart: str = ""
    label: str = ""
    decimals: int = 4
    of_normalized: "Callable[..., Tensor] | None" = None
    of_spectrum: "Callable[[Tensor], Tensor] | None" = None

    def __post_init__(self) -> None:
        if self.inputs in ("views", "tokens") and self.in_runs:
            raise ValueError(f"runs have no {self.inputs} for a monitor; declare in_runs=False")


class Monitor(Protocol):
    """A function with a declaration; without options it returns a scalar."""

    declaration: Declaration

    def __call__(self, *embeddings: "Tensor") -> "Tensor":
        """Return the value, a scalar on the device of the embeddings."""


Function = TypeVar("Function", bound=Callable[..., Any])


def monitor(**facts: Any) -> Callable[[Function], Function]:
    """Return a decorator that attaches a :class:`Declaration` with these facts to a function.

    The docstring of the function need not repeat them: the decorator adds them.
    """
    declared = Declaration(**facts)

    def attach(function: Function) -> Function:
        function.declaration = declared  # type: ignore[attr-defined]
        function.__doc__ = (
            f"{cleandoc(function.__doc__ or '')}\n\n    {declared.equation}\n\n"
            f"z: prepared rows ({declared.prepares}), s: their singular values\n"
            f"at complete collapse: {declared.at_collapse:g}; at an even spread: {declared.at_even}"
        )
        return function

    return attach


def try_monitor(function: Monitor) -> None:
    """Raise ValueError unless a monitor returns a scalar tensor for random inputs."""
    import torch

    rows = torch.randn(256, 2, 16, generator=torch.Generator().manual_seed(0))
    inputs = {"embeddings": rows[:, :1].unbind(1), "pair": rows.unbind(1)}
    value = function(*inputs.get(function.declaration.inputs, (rows,)))
    if not isinstance(value, torch.Tensor) or value.dim():
        name = getattr(function, "__qualname__", function)
        found = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)
        raise ValueError(f"monitor {name} returns {found}; a scalar tensor expected")


def load_monitor(name: str) -> Monitor:
    """Return the monitor of a name in `MONITORS`, or of `module:function`.

    Raises:
        ValueError: the name is unknown, or the function has no declaration.
    """
    function: Monitor = MONITORS.load(name)
    if name in MONITORS:
        # Otherwise a module of the same name would hide the function.
        setattr(sys.modules[__package__], name, function)
    return function


def load_monitors() -> dict[str, Monitor]:
    """Return all monitors by name, except those of other packages that cannot be loaded."""
    return {name: load_monitor(name) for name in MONITORS.load_all()}


def monitors_in_runs() -> dict[str, Monitor]:
    """Return the monitors that training runs measure, by name, in the order of `MONITORS`."""
    return {name: one for name, one in load_monitors().items() if one.declaration.in_runs}
