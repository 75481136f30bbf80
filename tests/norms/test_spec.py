"""Names and options of norms, as given by users."""

import pickle
import subprocess
import sys
from functools import partial

import pytest
from omegaconf import OmegaConf
from torch import nn

from ssl_norm.norms import NormSpec, make_norm, parse_norm
from ssl_norm.norms.layers.batch_norm import BatchNorm

OUTSIDE = "ssl_norm.norms.layers.group_norm:GroupNorm"  # as a norm of another package is named


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("bn", NormSpec("bn")),
        ("gn+ws", NormSpec("gn", {}, True)),
        ({"name": "gn+ws", "groups": 16}, NormSpec("gn", {"groups": 16}, True)),
        (OmegaConf.create({"name": "gn", "groups": 16}), NormSpec("gn", {"groups": 16})),
        (NormSpec("ln"), NormSpec("ln")),
        (f"{OUTSIDE}+ws", NormSpec(OUTSIDE, {}, True)),
        ({"name": OUTSIDE, "groups": 2}, NormSpec(OUTSIDE, {"groups": 2})),
        (BatchNorm, NormSpec("BatchNorm", constructor=BatchNorm)),
    ],
)
def test_grammar(spec, expected):
    parsed = parse_norm(spec)
    assert parsed == expected == parsed.checked()
    assert hash(parsed) == hash(expected)
    assert pickle.loads(pickle.dumps(parsed)) == expected
    assert str(parse_norm(parsed.setting)).endswith(str(expected))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("batchnrm", ValueError, "unknown norm 'batchnrm'; known: none, bn, "),
        ("bm", ValueError, "did you mean 'bn'"),
        ("gn+wz", ValueError, r"did you mean 'gn\+ws'"),
        ("gn+", ValueError, r"unknown norm 'gn\+'"),
        ({"groups": 8}, ValueError, "needs 'name', got {groups: 8}"),
        (None, TypeError, "a norm is a name or a mapping with 'name', got null"),
        (3, TypeError, "got 3"),
    ],
)
def test_names_are_checked_at_once(spec, error, message):
    with pytest.raises(error, match=message):
        parse_norm(spec)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            {"name": "gn", "group": 8},
            TypeError,
            "norm 'gn' has no option 'group'; .* did you mean 'groups'",
        ),
        ({"name": "none", "eps": 1}, TypeError, "norm 'none' has no option 'eps'"),
        ({"name": "gn", "groups": "x"}, ValueError, "norm 'gn': groups=x: an integer in "),
        ({"name": "ln", "eps": 0}, ValueError, r"norm 'ln': eps=0: a number in \[1e-12, 1000\]"),
        ({"name": "rbn", "update_rate": 1.5}, ValueError, r"a number in \(0, 1\] expected"),
        ({"name": "bn", "evaluation": "bach"}, ValueError, "did you mean 'batch'"),
        ({"name": "bn", "batch_size": 0}, ValueError, r"an integer in \[1, "),
        ({"name": OUTSIDE, "group": 8}, TypeError, f"norm '{OUTSIDE}' has no option 'group'"),
        ("nowhere.norms:Mine", ValueError, "there is no module 'nowhere'"),
        ("math:pi", ValueError, "norm 'math:pi' is a float; an nn.Module, or"),
    ],
)
def test_options_are_checked_by_the_signature(spec, error, message):
    parsed = parse_norm(spec)
    for check in (parsed.checked, lambda: make_norm(spec, 4)):
        with pytest.raises(error, match=message):
            check()


def test_properties_of_a_norm():
    ghost, instance = parse_norm("ghost"), parse_norm("in+ws")
    assert (ghost.batch_statistics, ghost.vectors, ghost.nonlinear) == (True, True, False)
    assert (instance.batch_statistics, instance.vectors) == (False, False)
    assert parse_norm("frn").nonlinear
    assert (ghost.option("batch_size"), instance.option("batch_size")) == (32, None)
    assert parse_norm({"name": "ghost", "batch_size": 4}).option("batch_size") == 4
    assert parse_norm({"name": "gn+ws", "groups": 4}).setting == {"name": "gn+ws", "groups": 4}


def test_make_norm_ignores_weight_standardization():
    assert repr(make_norm("bn+ws", 8)) == repr(make_norm("bn", 8))


def test_norms_of_other_packages():
    spec = parse_norm(partial(nn.GroupNorm, 2))
    assert (str(spec), spec.batch_statistics, spec.all_options) == ("GroupNorm", False, {})
    assert make_norm(spec, 6).num_channels == 6
    assert parse_norm(spec) is spec
    assert make_norm({"name": f"{OUTSIDE}+ws", "groups": 3}, 6).num_groups == 3
    assert parse_norm(BatchNorm).batch_statistics
    assert parse_norm(BatchNorm).setting == "ssl_norm.norms.layers.batch_norm:BatchNorm"


def test_names_need_no_torch():
    code = "import sys, ssl_norm.norms as n; n.parse_norm('gn+ws'); n.parse_norm('a.b:C'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
