"""The command `python -m ssl_norm.monitors`."""

from ssl_norm.exit_code import exit_code_of
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.__main__ import main


def test_a_line_for_every_monitor(capsys):
    assert main([]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["monitor", "of", "first"]
    assert [line.split()[0] for line in lines[: len(MONITORS)]] == list(MONITORS)
    text, lines = "\n".join(lines), {line.split()[0]: line for line in lines if line}
    assert " normalizes " in lines["feature_std"]
    assert " centres " in lines["effective_rank"]
    assert " - " in lines["rank_me"]
    assert "normalizes, centres" in lines["cev_auc"]
    assert "CollapseMonitor and tools/diagnose.py pass L2-normalized embeddings" in text


def test_arguments(capsys):
    assert main(["--help"]) == 0
    assert "python -m ssl_norm.monitors" in capsys.readouterr().out
    assert exit_code_of(main, ["rank_me"]) == 2
    assert capsys.readouterr().err == "error: no arguments expected, got rank_me\n"
