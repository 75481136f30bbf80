"""Declarations of monitors, attached to their functions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from ssl_norm.monitors import MONITORS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Facts about a monitor; contract tests, runs, dashboard, reports and tables read them.

    Attributes:
        inputs: `embeddings` (N, D), `pair` two such, matching by row, `views` (n, q, D), or
            `tokens` (N, T, D).
        prepares: preparation of the rows by the function itself: it `normalizes` each to length 1,
            `centres` them, does `both` in this order, or `nothing`.
        cost: `linear` O(N D); `quadratic` O(N D^2) or O(N^2 D); `spectral`, one more eigenvalue
            decomposition of the smaller of N and D.
        at_collapse: value if all embeddings are equal; NaN: undefined there.
        at_even: value, or a bound of it, if directions are spread evenly.
        equation: one line for the table of monitors; z: prepared rows, s: their singular values.
        source: paper.
        depends_on: changes of all embeddings that change the value, although they are unrelated to
            collapse: `scale`, a common factor; `axes`, a rotation.
        in_runs: whether training runs measure it, on rows of length 1, and log it as a column.
        chart: title of its chart in TensorBoard; charts of one title are one. Empty: the chart of
            all monitors without one.
        label: heading in tables of a report; empty: not in tables.
        decimals: shown in a report.
        of_normalized: the same value from rows of length 1, if that saves work.
        of_spectrum: the same value from the eigenvalues of the covariance of the prepared rows.
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
            raise ValueError(f"runs hold no {self.inputs} for a monitor; declare in_runs=False")


class Monitor(Protocol):
    """A function with a declaration; without options it returns a scalar."""

    declaration: Declaration

    def __call__(self, *embeddings: "Tensor") -> "Tensor":
        """Return the value, a scalar on the device of the embeddings."""


Function = TypeVar("Function", bound=Callable[..., Any])


def monitor(**facts: Any) -> Callable[[Function], Function]:
    """Return a decorator that attaches a :class:`Declaration` to a function.

    Args:
        **facts: attributes of the declaration.
    """
    declaration = Declaration(**facts)

    def attach(function: Function) -> Function:
        function.declaration = declaration  # type: ignore[attr-defined]
        return function

    return attach


def load_monitor(name: str) -> Monitor:
    """Return the monitor of a name in `MONITORS`, or of `module:function`.

    Raises:
        ValueError: the name is unknown, or the function has no declaration.
    """
    function: Monitor = MONITORS.load(name)
    if name in MONITORS:
        setattr(sys.modules[__package__], name, function)  # a module with this name would hide it
    return function


def load_monitors() -> dict[str, Monitor]:
    """Return all monitors by name, except those of other packages that fail."""
    return {name: load_monitor(name) for name in MONITORS.load_all()}


def monitors_in_runs() -> dict[str, Monitor]:
    """Return the monitors that training runs measure, by name, in the order of `MONITORS`."""
    return {name: one for name, one in load_monitors().items() if one.declaration.in_runs}
