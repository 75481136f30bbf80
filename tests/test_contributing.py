"""Worked example of CONTRIBUTING.md under the tests of all norms."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from ssl_norm.norms import make_norm, replace_norms

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
CODE, LINE, TEST = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
MODULE = "mean_only_batch_norm"


@pytest.fixture
def example(monkeypatch, tmp_path):
    """Return the module of the example, in a package whose entry point adds the norm."""
    (tmp_path / f"{MODULE}.py").write_text(CODE + TEST)
    installed = tmp_path / f"{MODULE}-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n")
    point = f"mean_only = {MODULE}:MeanOnlyBatchNorm"
    (installed / "entry_points.txt").write_text(f"[ssl_norm.norms]\n{point}\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module(MODULE)
    del sys.modules[MODULE]


def test_length_of_the_example():
    assert len(CODE.splitlines()) <= 13


def test_registry_line_names_the_class():
    assert f'NORM = {{"mean_only": "ssl_norm.norms.layers.{MODULE}:MeanOnlyBatchNorm"}}\n' == LINE


def test_example_passes_its_own_test(example):
    example.test_mean_only_batch_norm_equals_its_equation()


def test_example_passes_all_tests_of_norms(example):
    folder = Path(example.__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider"]
    command += ["-k", "mean_only", "tests/norms", "--ignore=tests/norms/test_sync.py"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 60


def test_example_with_policies_and_in_models(example):
    x = torch.randn(6, 4, 3, 3)
    name = f"{MODULE}:MeanOnlyBatchNorm"
    layer = make_norm({"name": name, "batch_size": 3}, 4)
    y = layer(x)
    torch.testing.assert_close(y[:3].mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-6)
    for spec in (name, example.MeanOnlyBatchNorm):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        replace_norms(model, spec)
        assert isinstance(model[1], example.MeanOnlyBatchNorm)
