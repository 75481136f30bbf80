import math

import pytest

from ssl_norm.report.figures.parts import Curve, band


def test_nothing_is_interpolated():
    found = band(
        [
            Curve([10, 20, 30, 40, 60], [1, 2, 3, 4, 6]),
            Curve([15, 30, 45, 60], [0, 5, 0, 8]),
            Curve([30, 60, 90], [7, 10, 0]),
        ]
    )
    assert found.steps == [30, 60]
    assert found.mean == [5, 8]
    assert found.low == pytest.approx([3, 6])
    assert found.high == pytest.approx([7, 10])


def test_two_runs_have_their_range_and_one_has_no_band():
    assert band([Curve([1, 2], [0, 4]), Curve([1, 2], [2, 1])])[2:] == ([0, 1], [2, 4])
    assert band([Curve([1, 2], [0, 4])]) is None


def test_steps_with_a_missing_value_are_not_common():
    assert band([Curve([1, 2, 3], [0, math.nan, 4]), Curve([1, 2, 3], [2, 1, 1])]).steps == [1, 3]
    assert band([Curve([1, 2], [0, math.nan]), Curve([1, 2], [2, 1])]) is None
    assert band([Curve([1, 3], [0, 1]), Curve([2, 4], [2, 1])]) is None
