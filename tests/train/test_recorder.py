"""Recorder: actions at a new collapse."""

import pytest
import torch

from ssl_norm.errors import CollapseStop
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import Recorder


@pytest.mark.parametrize("on_collapse", ["warn", "stop", "rollback", "ignore"])
def test_only_a_complete_collapse_stops_a_run(on_collapse, capsys):
    monitor = CollapseMonitor(patience=1)
    line = ProgressLine(0, 9, text=lambda row: "")
    recorder = Recorder(None, monitor, line, on_collapse)
    views, basis = torch.randn(2, 256, 2), torch.randn(2, 128)

    def row(step, pair):
        monitor.observe(step, [tuple(pair)])
        monitor.collect()
        recorder.row({"step": step})
        return capsys.readouterr().err

    assert ("warning: dimensional collapse since step 1" in row(1, views @ basis)) == (
        on_collapse != "ignore"
    )
    if on_collapse in ("stop", "rollback"):
        with pytest.raises(CollapseStop, match="complete collapse since step 2") as stop:
            row(2, torch.ones(2, 256, 128))
        assert stop.value.found["steps"] == 2
    else:
        said = row(2, torch.ones(2, 256, 128))
        assert ("warning: complete collapse since step 2" in said) == (on_collapse == "warn")
