import pickle
from functools import partial

import pytest
from omegaconf import OmegaConf
from torch import nn

from ssl_norm.norms import NORMS, NormSpec, make_norm, parse_norm
from ssl_norm.norms.__main__ import norm_table
from ssl_norm.norms.registry import OPTION_VALUES


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("bn", NormSpec("bn")),
        ("gn+ws", NormSpec("gn", {}, True)),
        ({"name": "gn+ws", "groups": 16}, NormSpec("gn", {"groups": 16}, True)),
        (OmegaConf.create({"name": "gn", "groups": 16}), NormSpec("gn", {"groups": 16})),
        (NormSpec("ln"), NormSpec("ln")),
    ],
)
def test_grammar(spec, expected):
    assert parse_norm(spec) == expected
    assert pickle.loads(pickle.dumps(parse_norm(spec))) == expected


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("batchnrm", ValueError, "unknown norm 'batchnrm'; known: none, bn, "),
        ("bm", ValueError, "did you mean 'bn'"),
        ("gn+wz", ValueError, r"did you mean 'gn\+ws'"),
        ("gn+", ValueError, r"unknown norm 'gn\+'"),
        ({"groups": 8}, ValueError, "needs 'name', got {'groups': 8}"),
        (
            {"name": "gn", "group": 8},
            TypeError,
            "option of norm 'gn' 'group'; .* did you mean 'groups'",
        ),
        ({"name": "none", "eps": 1}, TypeError, "option of norm 'none' 'eps'"),
        (
            {"name": "gn", "groups": "x"},
            ValueError,
            "groups of norm 'gn': an integer of at least 1",
        ),
        ({"name": "gn", "groups": True}, ValueError, "got True"),
        ({"name": "gn", "groups": 8.0}, ValueError, "an integer of at least 1 expected, got 8.0"),
        ({"name": "ln", "eps": 0}, ValueError, "eps of norm 'ln': a number above 0 expected"),
        ({"name": "ln", "eps": "tiny"}, ValueError, "eps of norm 'ln': a number above 0"),
        ({"name": "bn", "eps": float("inf")}, ValueError, "a number above 0 expected, got inf"),
        ({"name": "rbn", "update_rate": 1.5}, ValueError, r"a number in \(0, 1\] expected"),
        ({"name": "bn", "affine": "no"}, ValueError, "affine of norm 'bn': true or false expected"),
        (None, TypeError, "a norm is a name or a mapping with 'name', got None"),
        (3, TypeError, "got 3"),
    ],
)
def test_bad_specs(spec, error, message):
    with pytest.raises(error, match=message):
        parse_norm(spec)


def test_options_have_known_values():
    assert {option for entry in NORMS.values() for option in entry.options} == set(OPTION_VALUES)


def test_names_are_read_only():
    with pytest.raises(TypeError):
        NORMS["mine"] = NORMS["bn"]


def test_make_norm_ignores_weight_standardization():
    assert repr(make_norm("bn+ws", 8)) == repr(make_norm("bn", 8))


def test_table_names_every_norm_option_and_equation():
    header, *lines = norm_table().splitlines()
    assert header.split()[0] == "norm"
    for (name, entry), line in zip(NORMS.items(), lines, strict=True):
        assert line.split()[0] == name
        assert all(option in line for option in entry.options)
        assert line.endswith(entry.equation)


def test_a_callable_is_a_norm():
    spec = parse_norm(partial(nn.GroupNorm, 2))
    assert (str(spec), spec.batch_statistics) == ("GroupNorm", False)
    assert make_norm(spec, 6).num_channels == 6
    assert parse_norm(spec) is spec
