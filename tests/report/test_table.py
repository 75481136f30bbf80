import csv
import io

import pytest

from ssl_norm.report.grouping import group_keys, group_runs
from ssl_norm.report.read import find_runs, read_runs
from ssl_norm.report.table import (
    Table,
    group_numbers,
    group_table,
    run_numbers,
    run_table,
    short_table,
)
from tests.report.run_folders import config_of, curves, write_run, write_study


def grouped(root):
    runs = read_runs(find_runs([root]))
    keys = group_keys(runs, None)
    return keys, group_runs(runs, keys)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return grouped(write_study(tmp_path_factory.mktemp("study")))


def columns(table):
    return {name: list(cells) for name, *cells in zip(table.headings, *table.rows, strict=True)}


def test_groups(study):
    found = columns(group_table(*study))
    assert found["projector"] == ["bn", "none"]
    assert found["seeds"] == ["0, 1, 2"] * 2
    assert found["verdict"] == ["healthy 3/3", "complete 3/3"]
    assert found["collapsed at step"] == ["-", "41, 41, 41"]
    assert found["negative cosine"] == ["0.4200 +- 0.0200 (3)", "0.9999 +- 0.0000 (3)"]
    assert found["linear top-1"] == ["0.910 +- 0.010 (3)", "0.410 +- 0.010 (3)"]
    assert found["linear top-1, random init"] == ["0.400 +- 0.000 (3)"] * 2
    assert "RankMe" not in found


def test_numbers_for_programs_are_those_of_the_table(study):
    rows = list(csv.DictReader(io.StringIO(group_numbers(*study).csv())))
    assert [float(row["negative_cosine"]) for row in rows] == pytest.approx(
        [0.42, 0.9999], abs=1e-4
    )
    assert float(rows[0]["negative_cosine_sd"]) == pytest.approx(0.02)
    assert [row["linear_top1_n"] for row in rows] == ["3", "3"]
    assert [row["norm.projector"] for row in rows] == ["bn", "none"]


def test_every_run_and_every_number(study):
    keys, groups = study
    found = columns(run_table(groups))
    assert found["group"] == ["heads bn/bn"] * 3 + ["heads none/none"] * 3
    assert found["linear top-1"][0] == "0.900"
    assert found["collapsed at step"] == ["-"] * 3 + ["41"] * 3
    numbers = columns(run_numbers(keys, groups))
    assert numbers["loss"] == ["1.0"] * 6
    assert numbers["steps"] == ["100"] * 6
    assert numbers["collapsed_at_step"] == [""] * 3 + ["41"] * 3
    assert columns(short_table(groups))["verdict"] == ["healthy 3/3", "complete 3/3"]


def test_missing_values_are_dashes_and_counted(tmp_path):
    write_run(tmp_path / "a", summary={"rank_me": 7.0, "positive_cosine": float("nan")})
    write_run(
        tmp_path / "b",
        config_of(seed=1),
        curves(1, collapsed=True),
        {"linear_top1": None},
        top1=None,
    )
    (cells,) = zip(*columns(group_table(*grouped(tmp_path))).values(), strict=True)
    found = dict(zip(columns(group_table(*grouped(tmp_path))), cells, strict=True))
    assert found["runs"] == "byol bn/bn"
    assert found["verdict"] == "healthy 1/2, complete 1/2"
    assert found["collapsed at step"] == "-, 41"
    assert found["RankMe"] == "7.0 (1 of 2)"
    assert found["linear top-1"] == "0.900 (1 of 2)"
    assert found["positive cosine"] == "1.0000 (1 of 2)"
    assert columns(run_table(grouped(tmp_path)[1]))["positive cosine"] == ["-", "1.0000"]


def test_markdown_keeps_its_columns():
    text = Table(["a|b", "c"], [["1\n2", "3"]]).markdown()
    assert text == "| a\\|b | c |\n| --- | --- |\n| 1 2 | 3 |\n"
