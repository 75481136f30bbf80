"""Versions, hardware and command of a run."""

import shlex
import subprocess
import sys

import torch

from ssl_norm.train import environment


def test_command_as_it_was_typed():
    described = environment.describe_environment(torch.device("cpu"))
    assert shlex.split(described["command"]) == sys.orig_argv[1:]


def test_commit_of_an_installed_package_is_unknown_inside_another_repository(tmp_path, monkeypatch):
    copy = tmp_path / "environment.py"
    copy.write_text("")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(environment, "__file__", str(copy))
    assert environment._git_commit() == "unknown"
