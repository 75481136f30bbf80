"""The worked example of CONTRIBUTING.md, executed, and held to the contract of all norms."""

import re
import sys
from pathlib import Path
from types import MappingProxyType, ModuleType

import pytest
import torch
from torch import nn

from ssl_norm.norms import make_norm, registry
from ssl_norm.norms.swap.replace import replace_norms
from tests.norms import test_contract as contract

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def example(monkeypatch):
    """The blocks as one module, with the norm that they define in the registry."""
    module = ModuleType("worked_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in BLOCKS:
        exec(compile(block, "CONTRIBUTING.md", "exec"), vars(module))
    known = registry.NORMS
    extended = MappingProxyType({**known, **module.LINE})
    for owner in [m for m in sys.modules.values() if vars(m).get("NORMS") is known]:
        monkeypatch.setattr(owner, "NORMS", extended)
    return module


def test_example_is_ten_lines_long():
    assert len(BLOCKS[0].splitlines()) <= 10


def test_example_passes_its_own_test(example):
    example.test_mean_only_batch_norm_equals_its_equation()


@pytest.mark.parametrize("shape", contract.SHAPES, ids=str)
def test_example_keeps_the_contract(example, shape):
    for training in (True, False):
        contract.test_keeps_shape_dtype_and_input("mean_only", shape, training)
    contract.test_gradients("mean_only", shape)
    contract.test_bfloat16_is_near_float64("mean_only", shape)


def test_example_keeps_the_contract_of_its_options(example):
    contract.test_affine_false_owns_nothing_affine("mean_only")
    contract.test_options_are_those_of_the_constructor("mean_only")
    for training in (True, False):
        contract.test_channels_last_equals_contiguous("mean_only", training)


def test_example_has_a_name_policies_and_a_place_in_models(example):
    x = torch.randn(6, 4, 3, 3)
    layer = make_norm({"name": "mean_only", "batch_size": 3}, 4)
    y = layer(x)
    torch.testing.assert_close(y[:3].mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-6)
    for spec in ("mean_only", example.MeanOnlyBatchNorm):
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        replace_norms(model, spec)
        assert isinstance(model[1], example.MeanOnlyBatchNorm)
