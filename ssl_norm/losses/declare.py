"""Declarations of losses: range and value at collapse of each function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Range of a loss, and its value if all embeddings are equal."""

    low: float
    high: float
    at_collapse: Callable[..., float]  # of the number of rows of each parameter of embeddings


def loss(**facts: Any) -> Callable[[Function], Function]:
    """Return a decorator that attaches a :class:`Declaration` with these facts to a function.

    Parameters annotated as `Tensor` are embeddings, (N, D) each; the number of rows of a parameter
    `queue` may differ from N. All other parameters are options.
    """

    def attach(function: Function) -> Function:
        function.declaration = Declaration(**facts)  # type: ignore[attr-defined]
        return function

    return attach
