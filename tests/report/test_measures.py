from pathlib import Path

from ssl_norm.report.measures import collapse_steps
from ssl_norm.report.read import RunRecord


def stretch(steps, verdicts, collapsed_at_step=None):
    summary = {"verdict": verdicts[-1], "collapsed_at_step": collapsed_at_step}
    run = RunRecord(
        Path("r"), "r", summary=summary, verdicts=list(zip(steps, verdicts, strict=True))
    )
    return collapse_steps([run])


def test_a_run_that_left_a_collapse_says_when_it_was_in_it():
    assert stretch([10, 20, 30, 40], ["uncertain", "complete", "complete", "healthy"]) == "20 to 30"
    assert stretch([10, 20], ["uncertain", "complete"], collapsed_at_step=3) == "3"
    assert stretch([10, 20], ["uncertain", "healthy"]) == "-"
