import pytest

from ssl_norm.monitors.verdict import VerdictState, advance


def history(steps, patience=3):
    """Return the state after each step of a string: x is collapsed, . is not."""
    states, state = [], VerdictState()
    for step, mark in enumerate(steps, start=1):
        state = advance(state, step, mark == "x", patience)
        states.append(state)
    return states


@pytest.mark.parametrize(
    ("steps", "verdict", "collapsed_at_step"),
    [
        ("", "healthy", None),
        ("......", "healthy", None),
        ("xx", "healthy", None),
        ("xxx", "complete", 1),
        ("..xxx", "complete", 3),
        ("xx.xx.xx", "healthy", None),
        ("xx.xxxx", "complete", 4),
        ("xxx..", "complete", 1),
        ("xxx..x..", "complete", 1),
        ("xxx...", "healthy", None),
        ("xxx...xx", "healthy", None),
        ("xxx....xxx", "complete", 8),
    ],
)
def test_verdict(steps, verdict, collapsed_at_step):
    state = history(steps)[-1] if steps else VerdictState()
    assert (state.verdict, state.collapsed_at_step) == (verdict, collapsed_at_step)


def test_patience_of_one_follows_every_step():
    verdicts = [state.verdict for state in history("x.x", patience=1)]
    assert verdicts == ["complete", "healthy", "complete"]


def test_steps_may_skip():
    state = advance(VerdictState(), 10, collapsed=True, patience=2)
    assert advance(state, 20, collapsed=True, patience=2).collapsed_at_step == 10
