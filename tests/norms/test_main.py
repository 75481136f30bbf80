"""The command `python -m ssl_norm.norms`."""

import pytest

from ssl_norm.exit_code import exit_code_of
from ssl_norm.norms.__main__ import main


def test_without_arguments_every_norm(capsys):
    assert main([]) == 0
    assert "+ws" in capsys.readouterr().out


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "resnet18 gn+ws" in capsys.readouterr().out


@pytest.mark.parametrize("norm", ["gn+ws", "{name: gn, groups: 2}"])
def test_what_a_norm_would_change(norm, capsys):
    assert main(["tiny16", norm]) == 0
    printed = capsys.readouterr().out
    header, first, *_ = printed.splitlines()
    assert header.split("  ")[0] == "layer"
    assert first.split()[:2] == ["stem_bn", "BatchNorm2d(8)"]
    assert "running statistics" in first
    assert "dry run, nothing changed" in printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny"], "an encoder and a norm expected, got tiny"),
        (["resnt18", "gn"], "unknown encoder 'resnt18'.*did you mean 'resnet18'"),
        (["tiny", "gm"], "unknown norm 'gm'.*did you mean 'gn'"),
        (["tiny", "{name: gn, group: 3}"], "norm 'gn' has no option 'group'"),
        (["tiny", "{name: gn, groups: 3}"], "layer 'stem_bn': groups must divide num_features=16"),
        (["tiny", "{name: gn"], "is not a mapping in YAML"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert exit_code_of(main, arguments) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("error: ")
    with pytest.raises(ValueError, match=message):
        raise ValueError(printed)
