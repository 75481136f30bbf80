import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.norm_costs import targets, timing
from benchmarks.norm_costs.contestants import BN_AS_RULE, contestants, rule_norms
from benchmarks.norm_costs.memory import measure_memory, saved_storages
from benchmarks.norm_costs.plain_rbn import PlainRepresentativeBatchNorm2d
from ssl_norm.norms import make_norm

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "benchmarks/norms.py", "--quick", "--threads", "1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("training", [True, False])
def test_plain_rbn_equals_the_rule(training):
    torch.manual_seed(0)
    plain, rule = PlainRepresentativeBatchNorm2d(5).double(), make_norm("rbn", 5).double()
    for name in ("center_weight", "scale_weight", "scale_bias", "weight", "bias"):
        values = torch.randn(5, dtype=torch.float64)
        getattr(plain, name).data.copy_(values[None, :, None, None])
        getattr(rule, name).data.copy_(values)
    x = torch.randn(4, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    dy = torch.randn_like(x)
    gradients = []
    for layer in (plain, rule):
        y = layer.train(training)(x)
        gradients.append((y, torch.autograd.grad(y, x, dy)[0]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)


def test_each_storage_counts_once_including_the_input():
    class Cube(nn.Module):
        def forward(self, x):
            return (x * x) * x  # saves x three times, x * x once

    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    assert sorted(saved_storages(Cube(), x)) == [2 * 3 * 16 * 4] * 2


def test_memory_distinguishes_maps_from_tables():
    builds = contestants(["rbn", "bn"])
    costs = measure_memory(builds, ((8, 4, 4),), batch_size=2)
    assert costs["bn"].ratio == {"8x4x4": 1.0, "sum": 1.0}
    assert costs["rbn"].maps == {"8x4x4": 1}
    assert costs["plain rbn"].maps == {"8x4x4": 3}
    kept, maps = costs["rbn"].kept["sum"], 2 * 8 * 16 * 4
    assert costs["rbn"].tables["sum"] == round((kept - maps) / maps, 4) > 0


def test_rule_norms_are_those_that_pass_through_the_core():
    names = rule_norms(contestants(["bn", "gn", "rbn", "none", "zca"]))
    assert names == [BN_AS_RULE, "rbn"]


def test_rounds_alternate_and_the_first_does_not_count():
    calls = []
    contest = {case: {n: lambda n=n: calls.append(n) for n in "ab"} for case in ("small", "large")}

    def clock(call):
        call()
        return float(len(calls))

    seconds = timing.alternate(contest, rounds=3, clock=clock, title="test")
    assert {name: list(cases) for name, cases in seconds.items()} == {
        "a": ["small", "large"],
        "b": ["small", "large"],
    }
    assert all(len(set(calls[i : i + 2])) == 2 for i in range(0, 16, 2))
    assert sorted(np.concatenate([*seconds["a"].values(), *seconds["b"].values()])) == list(
        range(5, 17)
    )


def test_verdicts_name_the_worst_rule_norm():
    def cost(ratio, speed_up):
        return {"ratio": {"sum": [ratio] * 3}, "speed_up": [speed_up] * 3}

    results = {
        "rules": ["rbn", "in"],
        "layers": {"contiguous": {"rbn": cost(1.1, 2.3), "in": cost(1.2, 2), "zca": cost(9, 1)}},
        "memory": {name: {"ratio": {"sum": 1.04}} for name in ("rbn", "in")},
        "step": {"costs": {name: {"ratio": [1, 1.01, 2]} for name in ("bn", "rbn", "in")}},
    }
    verdicts = list(targets.verdicts(results, ""))
    assert [verdict.met for verdict in verdicts] == [False, False, True, True, True]
    assert verdicts[0].found == "1.200 (in); 1 of 2 above"
    assert verdicts[1].found == "9.000 (zca); 1 of 1 above"


def test_the_command_measures_and_prints(tmp_path):
    file = tmp_path / "norms.json"
    done = run("--norms", "rbn", "--allocators", "default", "--json", str(file))
    assert done.returncode == 0, done.stderr
    for heading in ("contiguous", "channels_last", "Bytes kept", "A step of BYOL", "Targets"):
        assert heading in done.stdout
    if not torch.cuda.is_available():
        assert "gpu: skipped, torch finds no CUDA GPU" in done.stderr
    figures = json.loads(file.read_text())["runs"]["default"]
    assert set(figures["step"]["costs"]) == {"bn", "rbn"}
    assert figures["layers"]["channels_last"]["rbn"]["milliseconds"]["sum"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_command_measures_on_a_gpu():
    done = run("--norms", "rbn", "--allocators", "default", "--sections", "gpu")
    assert done.returncode == 0, done.stderr
    assert "GPU, bfloat16, channels_last" in done.stdout
