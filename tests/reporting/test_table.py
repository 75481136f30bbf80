import csv
import io
import json
from math import nan
from pathlib import Path

import pytest
from scipy.stats import ttest_rel

from ssl_norm.reporting.columns import collapse_steps, measured
from ssl_norm.reporting.read import RunRecord
from ssl_norm.reporting.table import (
    Table,
    difference_numbers,
    difference_table,
    differences,
    group_numbers,
    group_table,
    run_numbers,
    run_table,
    short_table,
)
from tests.reporting.run_folders import (
    columns_of,
    config_of,
    curves,
    finetune_config,
    grouped,
    groups_in,
    write_few_labels,
    write_finetune,
    write_run,
    write_study,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return grouped(write_study(tmp_path_factory.mktemp("study")))


def test_groups(study):
    found = columns_of(group_table(*study))
    assert found["projector"] == ["bn", "none"]
    assert found["seeds"] == ["0, 1, 2"] * 2
    assert found["verdict"] == ["healthy 3/3", "complete 3/3"]
    assert found["collapsed at step"] == ["-", "41, 41, 41"]
    assert found["negative cosine"] == ["0.4200 +- 0.0200 (3)", "0.9999 +- 0.0000 (3)"]
    assert found["linear top-1"] == ["0.910 +- 0.010 (3)", "0.410 +- 0.010 (3)"]
    assert found["linear top-1, random init"] == ["0.400 +- 0.000 (3)"] * 2
    assert "RankMe" not in found


def test_numbers_for_programs_are_those_of_the_table(study):
    first, second = csv.DictReader(io.StringIO(group_numbers(*study).csv()))
    assert float(first["negative_cosine"]) == pytest.approx(0.42)
    assert float(first["negative_cosine_sd"]) == pytest.approx(0.02)
    assert (first["linear_top1_n"], second["norm.projector"]) == ("3", "none")


def test_every_run_and_every_number(study):
    keys, groups = study
    found = columns_of(run_table(groups))
    assert found["group"] == ["heads bn/bn"] * 3 + ["heads none/none"] * 3
    assert found["linear top-1"][0] == "0.900"
    assert found["collapsed at step"] == ["-"] * 3 + ["41"] * 3
    numbers = columns_of(run_numbers(keys, groups))
    assert numbers["loss"] == ["1.0"] * 6
    assert numbers["steps"] == ["100"] * 6
    assert numbers["collapsed_at_step"] == [""] * 3 + ["41"] * 3
    assert columns_of(short_table(keys, groups))["verdict"] == ["healthy 3/3", "complete 3/3"]


def test_missing_values_are_dashes_and_counted(tmp_path):
    write_run(tmp_path / "a", summary={"rank_me": 7.0, "positive_cosine": float("nan")})
    collapsed, nothing = curves(1, collapsed=True), {"linear_top1": None}
    write_run(tmp_path / "b", config_of(seed=1), collapsed, nothing, top1=None)
    found = columns_of(group_table(*grouped(tmp_path)))
    assert found["runs"] == ["byol bn/bn"]
    assert found["verdict"] == ["healthy 1/2, complete 1/2"]
    assert found["collapsed at step"] == ["-, 41"]
    assert found["RankMe"] == ["7.0 (1 of 2)"]
    assert found["linear top-1"] == ["0.900 (1 of 2)"]
    assert columns_of(run_table(grouped(tmp_path)[1]))["positive cosine"] == ["-", "1.0000"]


def test_markdown_keeps_its_columns_of():
    text = Table(["a|b", "c"], [["1\n2", "3"]]).markdown()
    assert text == "| a\\|b | c |\n| --- | ---: |\n| 1 2 | 3 |\n"


def test_finetuning_has_its_accuracies_in_the_order_of_comparison_and_no_verdicts(tmp_path):
    found = columns_of(group_table(*grouped(write_few_labels(tmp_path))))
    assert list(found) == [
        "arm", "labels a class", "seeds", "labels", "top-1, population", "top-1, exact",
        "top-1, batch", "training top-1",
    ]  # fmt: skip
    runs = columns_of(run_table(grouped(tmp_path)[1]))
    assert "verdict" not in runs
    assert runs["labels"][0] == "100"
    assert "verdict" not in columns_of(run_numbers(*grouped(tmp_path)))
    assert "top-1, exact" in columns_of(short_table(*grouped(tmp_path)))


def test_runs_of_both_tools_are_in_one_table(tmp_path):
    write_run(tmp_path / "a", top1=None)
    write_finetune(tmp_path / "b")
    found = columns_of(group_table(*grouped(tmp_path)))
    assert found["verdict"] == ["healthy 1/1", "- 1/1"]
    assert found["linear top-1"] == ["0.500 (1)", "-"]
    assert found["top-1, population"] == ["-", "0.500 (1)"]


def test_accuracies_under_each_kind_of_statistics(tmp_path):
    folder = write_run(tmp_path / "a", top1=None)
    kinds = {"population": (0.5, 0.4), "exact": (0.6, 0.5), "batch": (0.7, 0.6)}
    content = {"evaluations": {name: {"top1": a, "knn_top1": b} for name, (a, b) in kinds.items()}}
    (folder / "population_stats.json").write_text(json.dumps(content))
    numbers = columns_of(group_numbers(*grouped(tmp_path)))
    assert numbers["linear_top1_population"] == ["0.5"]
    assert numbers["linear_top1_exact"] == ["0.6"]
    assert numbers["knn_top1_batch"] == ["0.6"]
    assert columns_of(group_table(*grouped(tmp_path)))["kNN top-1, population"] == ["0.400 (1)"]


def stretch(steps, verdicts, collapsed_at_step=None):
    summary, pairs = (
        {"collapsed_at_step": collapsed_at_step},
        list(zip(steps, verdicts, strict=True)),
    )
    return collapse_steps([RunRecord(Path("r"), "r", summary=summary, verdicts=pairs)])


def test_a_run_that_recovered_shows_the_steps_of_its_collapse():
    assert stretch([10, 20, 30, 40], ["uncertain", "complete", "complete", "healthy"]) == "20 to 30"
    assert stretch([10, 20], ["uncertain", "complete"], collapsed_at_step=3) == "3"
    assert stretch([10, 20], ["uncertain", "healthy"]) == "-"


def contrastive(rows):
    config, metrics = {"method": {"name": "moco_v2"}}, {"contrastive_accuracy": rows}
    return measured(
        RunRecord(Path("a"), "a", config=config, metrics=metrics), "contrastive_accuracy"
    )


def test_the_contrastive_accuracy_is_that_of_several_batches():
    assert contrastive([1.0, 0.1, 0.2, nan, 0.3, 0.4, 0.5]) == pytest.approx(0.3)
    assert contrastive([0.1, 0.2]) == pytest.approx(0.15)
    assert contrastive([]) is None


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
    assert differences(groups[:1]) == []


def test_a_key_of_the_groups_with_the_name_of_a_result_keeps_its_values(tmp_path):
    for labels in (0.1, 0.2):
        config = finetune_config(labels=None) | {"labels": labels}
        write_finetune(tmp_path / f"{labels}", config, summary={"labels": int(1000 * labels)})
    tables = group_table, group_numbers, run_numbers
    found = [columns_of(table(*grouped(tmp_path)))["labels"] for table in tables]
    assert found == [["0.1", "0.2"]] * 3
    assert columns_of(run_table(grouped(tmp_path)[1]))["labels"] == ["100", "200"]
