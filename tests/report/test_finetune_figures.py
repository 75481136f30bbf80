import pytest

from ssl_norm.report.finetune_figures import finetune_figures
from ssl_norm.report.grouping import group_keys, group_runs
from ssl_norm.report.read import find_runs, read_runs
from tests.report.finetune_folders import (
    evaluation_rows,
    finetune_config,
    write_few_labels,
    write_finetune,
)
from tests.report.run_folders import write_run


def figures_of(root):
    runs = read_runs(find_runs([root]))
    return list(finetune_figures(group_runs(runs, group_keys(runs, None))))


def test_accuracy_by_statistics_and_over_the_steps(tmp_path):
    dots, curves = figures_of(write_few_labels(tmp_path, study=None))
    assert (dots.name, curves.name) == ("accuracy_by_statistics", "accuracy_over_steps")
    assert "18 runs in 6 groups" in dots.caption
    (axes,) = dots.figure.axes
    means = [bars[0].get_xdata().tolist() for bars in axes.containers]
    assert [values[0] for values in means] == pytest.approx([0.4, 0.45, 0.3])  # bn, 10 labels
    panels = [axes for axes in curves.figure.axes if axes.get_visible()]
    assert len(panels) == 6
    assert panels[0].lines[3].get_ydata().tolist() == pytest.approx([0.2, 0.4])


def test_runs_that_were_scored_once_have_no_curves(tmp_path):
    write_finetune(tmp_path / "a", rows=evaluation_rows(0.5, steps=(100,)))
    assert [drawing.name for drawing in figures_of(tmp_path)] == ["accuracy_by_statistics"]


def test_runs_without_accuracies_and_of_pretraining_have_no_figure(tmp_path):
    write_run(tmp_path / "pretrained")
    nothing = dict.fromkeys(("top1", "top1_exact", "top1_batch"))
    write_finetune(tmp_path / "a", finetune_config(), rows=[], summary=nothing)
    assert figures_of(tmp_path) == []
