"""Console command `ssl-norm`."""

import sys

import pytest

from ssl_norm.cli import commands, entry


def run(monkeypatch, capsys, *arguments):
    """Return exit code, stdout and stderr of the command."""
    monkeypatch.setattr(sys, "argv", ["ssl-norm", *arguments])
    with pytest.raises(SystemExit) as ending:
        commands.main()
    return ending.value.code, *capsys.readouterr()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_usage_lists_every_command(monkeypatch, capsys, arguments):
    code, out, _ = run(monkeypatch, capsys, *arguments)
    assert code == 0
    assert all(f"  {name} " in out for name in (*commands.TOOLS, *commands.LISTS))


@pytest.mark.parametrize("first", ["--help", "--version", "env", "monitors"])
def test_arguments_that_nothing_reads_are_refused(monkeypatch, capsys, first):
    code, out, err = run(monkeypatch, capsys, first, "x")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "got x" in err


def test_unknown_command(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "lineareval")
    assert code == 2
    assert "did you mean 'linear-eval'" in err


@pytest.mark.parametrize("name", ["linear-eval", "linear_eval"])
def test_tools_get_their_arguments(monkeypatch, capsys, name):
    called = []
    monkeypatch.setattr(entry, "main", lambda tool: called.append((tool, sys.argv[1:])))
    monkeypatch.setattr(sys, "argv", ["ssl-norm", name, "checkpoint=x"])
    with pytest.raises(SystemExit):
        commands.main()
    assert called == [("linear_eval", ["checkpoint=x"])]


@pytest.mark.parametrize(
    ("name", "named"),
    [("norms", "evonorm-b0"), ("monitors", "rank_me"), ("env", "compiled passes")],
)
def test_lists(monkeypatch, capsys, name, named):
    code, out, _ = run(monkeypatch, capsys, name)
    assert code == 0
    assert named in out
