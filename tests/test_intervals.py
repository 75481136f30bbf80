import math

import numpy as np
import pytest

from ssl_norm.intervals import Interval


@pytest.mark.parametrize(
    ("ends", "inside"), [("[]", (0, 1)), ("[)", (0,)), ("(]", (1,)), ("()", ())]
)
def test_ends(ends, inside):
    interval = Interval(0, 1, ends)
    assert 0.5 in interval
    assert tuple(end for end in (0, 1) if end in interval) == inside


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None, [1], 1j])
def test_non_numbers_are_in_no_interval(value):
    assert value not in Interval(0)
    assert value not in Interval(0, 2**70, "[]")


def test_integers_of_any_type_and_size():
    assert 2.0 not in Interval(1, whole=True)
    assert np.int64(2) in Interval(1, whole=True)
    assert np.float32(2) in Interval(1)
    assert 10**400 in Interval(1, whole=True)


def test_text():
    assert str(Interval(0, 1, "(]")) == "a number in (0, 1]"
    assert str(Interval(0, ends="()")) == "a number above 0"
    assert str(Interval(8, whole=True)) == "an integer of at least 8"
