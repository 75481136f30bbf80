from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from ssl_norm.report.columns import collapse_steps, measured
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


def contrastive(rows, method="moco_v2"):
    summary = {"method": method, "contrastive_accuracy": 1.0}
    run = RunRecord(Path("a"), "a", config={"method": {"name": method}}, summary=summary)
    return measured(replace(run, metrics={"contrastive_accuracy": rows}), "contrastive_accuracy")


def test_the_contrastive_accuracy_is_that_of_several_batches():
    assert contrastive([1.0, 0.1, 0.2, nan, 0.3, 0.4, 0.5]) == pytest.approx(0.3)
    assert contrastive([0.1, 0.2]) == pytest.approx(0.15)
    assert contrastive([]) is None
    assert contrastive([0.1], method="byol") is None
