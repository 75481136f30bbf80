import math
from dataclasses import replace

import pytest

from ssl_norm.errors import UserError
from ssl_norm.reporting.figures.study import figure_numbers, figure_table, study_figures
from ssl_norm.reporting.figures.study_data import content_of, figure_specs, find_places, values_of
from ssl_norm.reporting.read import read_run
from ssl_norm.settings.study import read_study, study_tools
from tests.reporting.run_folders import (
    DEVIATION,
    LABELS,
    TOP1,
    columns_of,
    evaluation_rows,
    finetune_config,
    runs_in,
    write_few_labels,
    write_finetune,
)

NOTHING = "figure f is not drawn: no run has all its quantities with values in `where`"
ENTRY = {"name": "f", "x": "labels_per_class", "y": "top1"}


def spec_of(**entry):
    return figure_specs("s", [{**ENTRY, **entry}])[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logx": True}, "unknown key 'logx'.*did you mean 'log_x'"),
        ({"y": None}, r"y\[0\]: text expected, got null"),
        ({"name": "a b"}, "name: letters, digits, _ and - expected"),
        ({"name": "table"}, "figure table: another file has this name"),
        ({"where": [{"split": "test"}, "train"]}, r"where\[1\]=train: a mapping"),
        ({"where": []}, r"where: a list in brackets, .* each item a mapping,.* got \[\]"),
        ({"published": {"lines": {}}}, r"published\.label=\.\.\. is needed"),
    ],
)
def test_a_wrong_entry_is_one_line_that_names_its_file(change, message):
    with pytest.raises(UserError, match=message) as raised:
        figure_specs("few_labels", [{**ENTRY, **change}])
    assert str(raised.value).startswith("configs/study/few_labels.yaml, figure ")
    assert "\n" not in str(raised.value)


def test_two_figures_of_one_name():
    with pytest.raises(UserError, match="figure f: another file has this name"):
        figure_specs("s", [ENTRY, ENTRY])


@pytest.mark.parametrize("study", study_tools())
def test_the_figures_of_every_study_are_well_formed(study):
    figure_specs(study, read_study(study).figures)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return runs_in(write_few_labels(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = finetune_config({"name": "bn", "batch_size": 4}, arm="small", study="s")
    return read_run(write_finetune(tmp_path_factory.mktemp("run"), config), "a")


def test_settings_are_numbers_or_text_and_norms_have_options(run):
    expected = {
        "norm.encoder": "bn(batch_size=4)", "norm.encoder.name": "bn", "norm.encoder.batch_size": 4,
        "norm.freeze_last": 0.0, "evaluation.samples": "[1000, 100]", "arm": "small",
        "checkpoint": None,
    }  # fmt: skip
    found = values_of(run)
    assert {name: found[f"config.{name}"] for name in expected} == expected
    assert "config.norm.projector" not in found
    assert "summary.top1" not in values_of(replace(run, summary={"top1": math.nan}))


@pytest.mark.parametrize(
    ("entry", "places"),
    [
        ({"x": "batch_size"}, {"batch_size": "config.batch_size", "top1": "summary.top1"}),
        (
            {"x": "batch_size", "where": {"statistics": "batch"}},
            {"batch_size": "evaluations.batch_size", "top1": "evaluations.top1"},
        ),
        ({"y": "labels"}, {"labels": "summary.labels"}),
        ({"x": "summary.labels"}, {"summary.labels": "summary.labels"}),
    ],
)
def test_sources_of_a_name_that_several_have(run, entry, places):
    found = find_places(spec_of(**entry), values_of(run))
    assert {name: found.get(name) for name in places} == places


def content(runs, **entry):
    found, lines = content_of(spec_of(**entry), runs)
    assert lines == []
    return found


@pytest.mark.parametrize("lines", [["arm"], ["norm.encoder.name"]])
def test_each_arm_is_a_line_with_means_and_deviations_over_seeds(runs, lines):
    found = content(runs, lines=lines)
    assert (found.places, found.numeric, found.runs) == (list(LABELS), True, 18)
    numbers = columns_of(figure_numbers(found))
    assert numbers["line"] == ["bn"] * 3 + ["ubn"] * 3
    assert [float(x) for x in numbers["mean"]] == pytest.approx([*TOP1["bn"], *TOP1["ubn"]])
    deviations = [*DEVIATION["bn"], *DEVIATION["ubn"]]
    assert [float(x) for x in numbers["sd"]] == pytest.approx(deviations)
    assert numbers["n"] == ["3"] * 6


POPULATION, EXACT = ({"split": "test", "statistics": name} for name in ("population", "exact"))
TOP1_AND_EXACT = ["top1", "top1_exact"]
ONE = {"arm": "bn", "labels_per_class": 4}
PAPER = {"label": "Paper", "lines": {"bn": [[4, 0.35], [100, 0.6]]}}
TABLES = [
    ({"lines": "arm"}, "ubn", "0.400 +- 0.020 (3); 0.450 +- 0.020 (3); 0.520 +- 0.010 (3)"),
    ({"y": TOP1_AND_EXACT, "where": ONE}, "top1_exact", "0.350 +- 0.010 (3)"),
    ({"y": TOP1_AND_EXACT, "lines": "arm", "labels": {"top1": "EMA"}, "where": ONE}, "bn, EMA",
     "0.300 +- 0.010 (3)"),
    # Rows of evaluations.csv, by default at the last step and of the first choice of samples.
    ({"lines": "arm", "where": EXACT}, "bn",
     "0.350 +- 0.010 (3); 0.450 +- 0.020 (3); 0.550 +- 0.030 (3)"),
    ({"lines": "arm", "where": {"statistics": "exact", "samples": 100, **ONE}}, "bn",
     "0.330 +- 0.010 (3)"),
    ({"x": "step", "lines": "arm", "where": EXACT | ONE}, "step", "50; 100"),
    ({"x": "step", "lines": "arm", "where": EXACT | ONE}, "bn",
     "0.200 +- 0.005 (3); 0.350 +- 0.010 (3)"),
    ({"x": "samples", "where": EXACT | ONE}, "samples", "100; 1000"),
    ({"lines": ["arm", "statistics"], "where": [POPULATION | ONE, EXACT | ONE]}, "bn, population",
     "0.300 +- 0.010 (3)"),
    ({"lines": "arm", "published": PAPER}, "labels_per_class", "4; 10; 40; 100"),
    ({"lines": "arm", "published": PAPER}, "Paper: bn", "0.350; -; -; 0.600"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "heading", "cells"), TABLES)
def test_cells_of_the_table(runs, entry, heading, cells):
    table = columns_of(figure_table(content(runs, **entry)))
    assert "; ".join(table[heading]) == cells


def test_values_of_one_seed_at_one_point_and_unknown_names_are_named(runs):
    _, (line,) = content_of(spec_of(lines=["arm"], where={"split": "test"}), runs)
    assert "3 values of seed 0 at 10 of bn, which differ in batch_size, samples, statis" in line
    found, (line,) = content_of(spec_of(), runs)
    assert found.series[0].label == "top1"
    assert "2 values of seed 0 at 10 of top1, which differ in norm.encoder, arm;" in line
    found, (line,) = content_of(spec_of(x="labels_per_clas"), runs)
    assert found is None
    assert "unknown quantity 'labels_per_clas'" in line
    assert "did you mean 'labels_per_class'?" in line


def test_missing_values_and_rows_leave_a_run_out_with_a_line(tmp_path):
    write_finetune(tmp_path / "a", finetune_config({"name": "bn", "batch_size": 2}))
    write_finetune(tmp_path / "b", finetune_config(seed=1), rows=[], summary={"top1": math.nan})
    runs = runs_in(tmp_path)
    for entry, message in (
        ({"x": "norm.encoder.batch_size"}, "no norm.encoder.batch_size in 1 run: b"),
        ({}, "no top1 in 1 run: b"),
        (
            {"where": {"statistics": "batch"}},
            "no row of evaluations.csv with values in `where` in 1 run: b",
        ),
    ):
        found, lines = content_of(spec_of(**entry), runs)
        assert (found.runs, lines) == (1, [f"figure f: {message}"])
    empty = [{**row, "top1": math.nan} for row in evaluation_rows(0.5)]
    missing = runs_in(write_finetune(tmp_path / "c", rows=empty))
    _, lines = content_of(spec_of(y="evaluations.top1", where={"statistics": "batch"}), missing)
    assert lines[0] == "figure f: no evaluations.top1 in 1 run: c"
    found, lines = content_of(spec_of(where={"arm": "none"}), runs)
    assert (found, lines) == (None, [NOTHING])


def drawn(runs, **entry):
    entry = {"name": "f", "x": "labels_per_class", "y": "top1", "lines": ["arm"], **entry}
    (found,), lines = study_figures(figure_specs("s", [entry]), runs)
    found.figure.draw_without_rendering()
    return found, lines


def line_of(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found


def test_means_bands_and_single_runs(runs):
    found, lines = drawn(
        runs, log_x=True, title="few labels", y_label="accuracy", labels={"bn": "BN"}
    )
    (axes,) = found.figure.axes
    assert lines == []
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("labels per class", "accuracy")
    assert line_of(axes, "BN").get_xdata().tolist() == [4, 10, 40]
    assert line_of(axes, "ubn").get_ydata().tolist() == pytest.approx(TOP1["ubn"])
    band = axes.collections[0].get_paths()[0].get_extents()
    assert band.y1 == pytest.approx(TOP1["bn"][2] + DEVIATION["bn"][2])
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [3, 3, 9, 9]
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "10", "40"]
    assert found.caption == (
        "few labels. top-1 over labels per class, 18 runs, n = 3 per point. Light: single runs; band: "
        "mean +- sample standard deviation."
    )


def test_published_numbers_are_dotted_in_the_colour_of_their_line(runs):
    published = {"label": "Paper", "lines": {"bn": [[40, 0.6], [4, 0.3]], "other": [[4, 0.2]]}}
    found, _ = drawn(runs, published=published)
    (axes,) = found.figure.axes
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert dotted[0].get_color() == line_of(axes, "bn").get_color()
    assert dotted[0].get_xdata().tolist() == [4, 40]
    assert axes.get_xticks().tolist() == [4, 10, 40]
    assert line_of(axes, "Paper: other").get_color() != dotted[0].get_color()
    assert "Dotted: Paper." in found.caption
    assert columns_of(found.numbers)["n"][-1] == ""


def test_several_values_set_colour_and_dashes_of_lines(runs):
    found, _ = drawn(runs, lines=["arm", "statistics"], where={"statistics": ["exact", "batch"]})
    (axes,) = found.figure.axes
    styles = {
        label: (line_of(axes, label).get_color(), line_of(axes, label).get_linestyle())
        for label in ("bn, exact", "bn, batch", "ubn, exact", "ubn, batch")
    }
    assert len(set(styles.values())) == 4
    assert styles["bn, exact"][0] == styles["bn, batch"][0] != styles["ubn, batch"][0]
    assert styles["bn, exact"][1] == styles["ubn, exact"][1] != styles["ubn, batch"][1]


def test_an_x_of_words_is_a_dot_plot(runs):
    found, lines = drawn(
        runs,
        x="statistics",
        where={"labels_per_class": 4},
        published={"label": "Paper", "lines": {"bn": [[1, 0.5]]}},
    )
    (axes,) = found.figure.axes
    assert lines == ["figure f: published numbers are not drawn: statistics is not a number"]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == ["population", "exact", "batch"]
    assert [row[0] for row in found.table.rows] == names
    assert found.table.rows[1][1] == "0.350 +- 0.010 (3)"


def test_a_value_at_0_is_a_horizontal_line_on_a_logarithmic_axis(runs):
    where = {"arm": "bn", "labels_per_class": 4, "statistics": ["population", "exact"]}
    found, _ = drawn(runs, x="samples", lines=["statistics"], where=where, log_x=True)
    (axes,) = found.figure.axes
    assert line_of(axes, "population").get_ydata() == pytest.approx([0.3, 0.3])
    assert line_of(axes, "exact").get_xdata().tolist() == [100, 1000]
    assert "Dashed horizontal line: samples 0." in found.caption


def test_single_runs_have_no_band(tmp_path):
    write_finetune(tmp_path / "a")
    found, _ = drawn(runs_in(tmp_path), lines=[])
    (axes,) = found.figure.axes
    assert (len(axes.collections), len(axes.lines)) == (0, 1)
    assert found.caption.endswith("1 run, n = 1 per point.")
