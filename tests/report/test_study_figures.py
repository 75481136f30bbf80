import pytest

from ssl_norm.report.figures.study import study_figures
from ssl_norm.report.figures.study_data import figure_specs
from tests.report.finetune_folders import DEVIATION, TOP1, write_few_labels, write_finetune
from tests.report.run_folders import runs_in


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return runs_in(write_few_labels(tmp_path_factory.mktemp("study")))


def drawn(runs, **entry):
    entry = {"name": "f", "x": "labels_per_class", "y": "top1", "lines": ["arm"], **entry}
    (found,), lines = study_figures(figure_specs("s", [entry]), runs)
    found.figure.draw_without_rendering()
    return found, lines


def line_of(axes, label):
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return found


def test_means_bands_and_single_runs(runs):
    found, lines = drawn(runs, log_x=True, title="few labels")
    (axes,) = found.figure.axes
    assert lines == []
    assert line_of(axes, "bn").get_xdata().tolist() == [4, 10, 40]
    assert line_of(axes, "ubn").get_ydata().tolist() == pytest.approx(TOP1["ubn"])
    band = axes.collections[0].get_paths()[0].get_extents()
    assert band.y1 == pytest.approx(TOP1["bn"][2] + DEVIATION["bn"][2])
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [3, 3, 9, 9]
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "10", "40"]
    assert found.caption == (
        "few labels. top-1 over labels per class, 18 runs, n = 3 a point. Light: single runs; band: "
        "mean +- sample standard deviation."
    )
    assert found.table.headings == ["labels_per_class", "bn", "ubn"]
    assert len(found.numbers.rows) == 6


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


def test_several_values_tell_lines_by_colour_and_dashes(runs):
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
    assert lines == ["figure f: published is not drawn, as statistics is no number"]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == ["population", "exact", "batch"]
    assert [row[0] for row in found.table.rows] == names
    assert found.table.rows[1][1] == "0.350 +- 0.010 (3)"


def test_what_stands_at_0_is_drawn_across_a_logarithmic_axis(runs):
    where = {"arm": "bn", "labels_per_class": 4, "statistics": ["population", "exact"]}
    found, _ = drawn(runs, x="samples", lines=["statistics"], where=where, log_x=True)
    (axes,) = found.figure.axes
    assert line_of(axes, "population").get_ydata() == pytest.approx([0.3, 0.3])
    assert line_of(axes, "exact").get_xdata().tolist() == [100, 1000]
    assert "Dashed across: samples 0." in found.caption


def test_single_runs_have_no_band(tmp_path):
    write_finetune(tmp_path / "a")
    found, _ = drawn(runs_in(tmp_path), lines=[])
    (axes,) = found.figure.axes
    assert (len(axes.collections), len(axes.lines)) == (0, 1)
    assert found.caption.endswith("1 run, n = 1 a point.")


def test_a_figure_without_numbers_is_a_remark(runs):
    specs = figure_specs("s", [{"name": "f", "x": "nothing", "y": "top1"}])
    drawings, lines = study_figures(specs, runs)
    assert drawings == []
    assert lines[0].startswith("figure f is not drawn: unknown quantity 'nothing'")
