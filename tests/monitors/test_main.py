"""The command `python -m ssl_norm.monitors`."""

import pytest

from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.__main__ import main


def test_a_line_for_every_monitor(capsys):
    assert main([]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["monitor", "of", "first"]
    assert [line.split()[0] for line in lines[: len(MONITORS)]] == list(MONITORS)


def test_what_functions_do_first_and_what_they_are_given_is_told(capsys):
    main([])
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert " normalizes " in lines["feature_std"]
    assert " centres " in lines["effective_rank"]
    assert " - " in lines["rank_me"]
    assert "normalizes, centres" in lines["cev_auc"]
    assert "CollapseMonitor and tools/diagnose.py give every function directions" in text


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "python -m ssl_norm.monitors" in capsys.readouterr().out


def test_arguments_are_refused(capsys):
    assert main(["rank_me"]) == 2
    assert capsys.readouterr().err == "error: no arguments expected, got rank_me\n"


def test_monitors_are_read_only():
    with pytest.raises(TypeError):
        MONITORS["mine"] = MONITORS["rank_me"]
