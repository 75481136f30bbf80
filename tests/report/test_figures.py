import pytest

from ssl_norm.report.figures import all_figures, cosine_figures
from ssl_norm.report.grouping import group_keys, group_runs
from ssl_norm.report.layer_figures import layer_figures
from ssl_norm.report.panels import PANELS
from ssl_norm.report.read import find_runs, read_runs
from tests.report.run_folders import config_of, curves, write_run, write_study


def groups_in(root):
    runs = read_runs(find_runs([root]))
    return group_runs(runs, group_keys(runs, None))


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    return groups_in(write_study(tmp_path_factory.mktemp("study")))


def test_what_the_runs_have_values_for_is_drawn(groups):
    figures = list(all_figures(groups))
    assert [drawing.name for drawing in figures] == ["cosines", "accuracy", "spectra"]
    assert "n = 3" in figures[0].caption
    assert "6 of 6 runs" in figures[1].caption
    assert "6 runs in 2 groups" in figures[2].caption


def test_a_panel_a_group_with_its_runs_mean_band_and_steps_of_collapse(groups):
    (drawing,) = cosine_figures(groups)
    healthy, collapsed = drawing.figure.axes
    assert healthy.get_title(loc="left") == "heads bn/bn (n = 3)"
    assert len(healthy.collections) == 2  # a band a cosine
    assert len(healthy.lines) == 2 * (3 + 1 + 1)  # runs, mean, entry of the legend
    assert len(collapsed.lines) == 2 * (3 + 1 + 1) + 3
    mean = healthy.lines[3]
    assert mean.get_xdata().tolist() == list(range(10, 101, 10))
    assert mean.get_ydata()[-1] == pytest.approx(0.42)


def test_many_groups_take_several_figures(tmp_path):
    for index in range(PANELS + 1):
        write_run(tmp_path / str(index), config_of(optimizer__lr=0.1 + index))
    names = [drawing.name for drawing in cosine_figures(groups_in(tmp_path))]
    assert names == ["cosines_1", "cosines_2"]


def test_runs_with_little_in_them(tmp_path):
    rows = [{**row, "negative_cosine": float("nan")} for row in curves()]
    write_run(tmp_path / "a", rows=rows, top1=None)
    assert [drawing.name for drawing in all_figures(groups_in(tmp_path))] == ["cosines"]


def test_the_layers_of_one_run_a_group(groups):
    drawings = list(layer_figures(groups))
    assert [drawing.name for drawing in drawings] == ["layers_1", "layers_2"]
    assert "One run of 3: 000_byol_bn-bn-bn_seed0, seed 0" in drawings[0].caption
