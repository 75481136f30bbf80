import math
import os

import pytest

from ssl_norm.errors import UserError
from ssl_norm.report.grouping import Statistic, group_keys, group_runs, statistic, without_repeats
from ssl_norm.report.read import find_runs, read_runs
from tests.report.run_folders import config_of, write_run, write_study


def test_sample_deviation_over_what_is_there():
    found = statistic([1.0, 2.0, 4.0, None, math.nan, math.inf])
    assert found.mean == pytest.approx(7 / 3, rel=1e-15)
    assert found.deviation == pytest.approx(
        math.sqrt(7 / 3), rel=1e-15
    )  # squares sum to 14/3, n - 1 = 2
    assert (found.present, found.missing) == (3, 3)


def test_one_run_has_no_deviation_and_none_has_no_mean():
    assert statistic([2.0]) == Statistic(2.0, None, 1, 0)
    assert statistic([2.0]).text(2) == "2.00 (1)"
    assert statistic([None, math.nan]) == Statistic(None, None, 0, 2)
    assert statistic([None]).text(2) == "-"
    assert statistic([1.0, 3.0]).text(1) == "2.0 +- 1.4 (2)"


def test_groups_are_over_seeds_in_order_of_folders(tmp_path):
    runs = read_runs(find_runs([write_study(tmp_path, seeds=(2, 0, 1))]))
    keys = group_keys(runs, None)
    bn, none = group_runs(runs, keys)
    assert (bn.values, none.values) == (("bn", "bn"), ("none", "none"))
    assert (bn.label, none.label) == ("heads bn/bn", "heads none/none")
    assert bn.seeds == none.seeds == ["0", "1", "2"]


def test_runs_that_differ_in_nothing_are_one_group(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / str(seed), config_of(seed=seed))
    runs = read_runs(find_runs([tmp_path]))
    (group,) = group_runs(runs, group_keys(runs, None))
    assert (group.values, group.label, len(group.runs)) == ((), "byol bn/bn", 2)


def test_keys_of_the_user(tmp_path):
    runs = read_runs(find_runs([write_study(tmp_path)]))
    assert len(group_runs(runs, group_keys(runs, ["seed"]))) == 3
    with pytest.raises(
        UserError, match=r"unknown key in group_by 'norm.projektor'.*'norm.projector'"
    ):
        group_keys(runs, ["norm.projektor"])


def test_the_newest_of_repeated_runs_counts(tmp_path):
    for name, date in (("new", 2000), ("old", 1000)):
        folder = write_run(tmp_path / name)
        for file in folder.iterdir():
            os.utime(file, (date, date))
    write_run(tmp_path / "other_seed", config_of(seed=1))
    kept, repeats = without_repeats(read_runs(find_runs([tmp_path])))
    assert [run.name for run in kept] == ["new", "other_seed"]
    assert [run.name for run in repeats] == ["old"]
