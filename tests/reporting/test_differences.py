import pytest
from scipy.stats import ttest_rel

from ssl_norm.reporting.differences import difference_numbers, difference_table, differences
from tests.reporting.run_folders import config_of, groups_in, write_run

ACCURACIES = {"bn": (0.5, 0.52, 0.61, 0.7), "gn": (0.55, 0.53, 0.6), "ln": (0.4,)}


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for norm, values in ACCURACIES.items():
        for seed, value in enumerate(values):
            write_run(root / f"{norm}{seed}", config_of(heads=norm, seed=seed), top1=value)
    return groups_in(root)


def test_the_interval_is_that_of_the_paired_t_test(groups):
    (found,) = [item for item in differences(groups) if item.column.name == "linear_top1"]
    a, b = ACCURACIES["gn"], ACCURACIES["bn"][:3]
    low, high = ttest_rel(a, b).confidence_interval(0.95)
    mean = sum(x - y for x, y in zip(a, b, strict=True)) / 3
    assert found.pairs == 3
    assert (found.mean, found.low, found.high) == pytest.approx((mean, low, high))


def test_the_tables_show_groups_that_share_two_seeds_with_the_first(groups):
    found = differences(groups)
    table = difference_table(found)
    assert [row[0] for row in table.rows] == [groups[1].label]
    assert table.rows[0][table.headings.index("linear top-1")] == "+0.017 (-0.059 to +0.093; 3)"
    assert {row[1] for row in difference_numbers(found).rows} >= {"linear_top1"}


def test_one_group_has_no_differences(groups):
    assert differences(groups[:1]) == []
