import math

import pytest

from ssl_norm.text import Statistic, statistic


def test_sample_deviation_over_finite_values():
    found = statistic([1.0, 2.0, 4.0, None, math.nan, math.inf])
    assert found.mean == pytest.approx(7 / 3, rel=1e-15)
    assert found.deviation == pytest.approx(math.sqrt(7 / 3), rel=1e-15)  # 14/3 over n - 1 = 2
    assert (found.present, found.missing) == (3, 3)


def test_one_value_has_no_deviation_and_none_has_no_mean():
    assert statistic([2.0]) == Statistic(2.0, None, 1, 0)
    assert statistic([2.0]).text(2) == "2.00 (1)"
    assert statistic([None, math.nan]) == Statistic(None, None, 0, 2)
    assert statistic([None]).text(2) == "-"
    assert statistic([1.0, 3.0]).text(1) == "2.0 +- 1.4 (2)"
    assert statistic([1.0, 3.0]).mean_sd(1, "+") == "+2.0 +- 1.4"
