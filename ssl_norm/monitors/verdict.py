"""One word on the state of a representation."""

from typing import Literal, NamedTuple

Verdict = Literal["healthy", "dimensional", "complete"]


class VerdictState(NamedTuple):
    """The verdict after some steps, and what it takes to change it.

    Attributes:
        verdict: of the present; `dimensional` is not given yet, as nothing measures it.
        collapsed_at_step: where the present collapse began; None while there is none.
        streak: latest steps in a row that speak against the verdict.
        streak_start: the first of them; None where there are none.
    """

    verdict: Verdict = "healthy"
    collapsed_at_step: int | None = None
    streak: int = 0
    streak_start: int | None = None


def advance(state: VerdictState, step: int, collapsed: bool, patience: int) -> VerdictState:
    """Return the verdict after one more step.

    It becomes `complete` when `patience` steps in a row are collapsed, dated to the first of them,
    and `healthy` again, without a date, when `patience` steps in a row are not: networks without
    batch norm do leave a collapse. Shorter stretches change nothing.

    Args:
        state: the verdict before.
        step: number of the step.
        collapsed: whether the embeddings of this step are collapsed.
        patience: steps in a row that change the verdict, at least 1.

    Example:
        >>> state = VerdictState()
        >>> for step in (1, 2, 3):
        ...     state = advance(state, step, collapsed=step > 1, patience=2)
        >>> state.verdict, state.collapsed_at_step
        ('complete', 2)
    """
    if collapsed == (state.verdict == "complete"):
        return state._replace(streak=0, streak_start=None)
    start = step if state.streak_start is None else state.streak_start
    if state.streak + 1 < patience:
        return state._replace(streak=state.streak + 1, streak_start=start)
    return VerdictState("complete", collapsed_at_step=start) if collapsed else VerdictState()
