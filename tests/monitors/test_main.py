"""The command `python -m ssl_norm.monitors`."""

import pytest
import torch

from ssl_norm import monitors
from ssl_norm.monitors import MONITORS
from ssl_norm.monitors.__main__ import main
from ssl_norm.monitors.normalized import directions


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


@pytest.mark.parametrize(
    "name", [name for name, entry in MONITORS.items() if entry.inputs == "embeddings"]
)
def test_what_a_function_is_said_to_do_first_changes_nothing_before_it(name):
    entry = MONITORS[name]
    z = torch.randn(200, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    z *= torch.linspace(0.5, 4, 200)[:, None]
    z[:, 0] = 1  # dead once centred, alive in the directions
    value = getattr(monitors, name)(z).item()
    of_directions = getattr(monitors, name)(directions(z)).item()
    of_centred = getattr(monitors, name)(z - z.mean(0)).item()
    normalizes = entry.prepares in ("normalizes", "both")
    assert (value == pytest.approx(of_directions, abs=1e-9)) == normalizes
    assert (value == pytest.approx(of_centred, abs=1e-6)) == (entry.prepares == "centres")


def test_monitors_are_read_only():
    with pytest.raises(TypeError):
        MONITORS["mine"] = MONITORS["rank_me"]
