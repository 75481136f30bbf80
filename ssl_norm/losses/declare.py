"""Declarations of losses: range and value at collapse of each function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Facts about a loss, which `tests/losses/test_contract.py` checks.

    Attributes:
        low: lower end of its range.
        high: upper end, infinity included.
        at_collapse: value if all embeddings are equal, as a function of the numbers of rows, one
            for each parameter of embeddings.
    """

    low: float
    high: float
    at_collapse: Callable[..., float]


def loss(**facts: Any) -> Callable[[Function], Function]:
    """Return a decorator that attaches a :class:`Declaration` to a function.

    Embeddings are the parameters annotated as `Tensor`, (N, D) each; one named `queue` has a number
    of rows that differs from that of the others. All other parameters are options.

    Args:
        **facts: attributes of the declaration.
    """

    def attach(function: Function) -> Function:
        function.declaration = Declaration(**facts)  # type: ignore[attr-defined]
        return function

    return attach
