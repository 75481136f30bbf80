import csv
import re

import pytest

from ssl_norm.commands.report import report
from ssl_norm.errors import UserError
from ssl_norm.reporting import studies
from ssl_norm.reporting.studies import in_study_order
from ssl_norm.settings.study import Study
from ssl_norm.settings.tools import ReportSettings
from tests.reporting.run_folders import (
    TOP1,
    config_of,
    finetune_config,
    runs_in,
    write_few_labels,
    write_finetune,
    write_run,
    write_study,
)

FILES = {"report.html", "table.md", "table.csv", "runs.csv", "differences.csv"}


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", seeds=(0, 1))


def test_a_study_becomes_a_page_tables_and_figures(study, capsys):
    (write_run(study / "broken") / "summary.json").write_text("{")
    report(ReportSettings(runs=str(study)))
    output = study / "report"
    figures = ("cosines", "accuracy", "spectra", "layers_1", "layers_2")
    assert {file.name for file in output.iterdir()} == FILES | {f"{n}.png" for n in figures}
    page = (output / "report.html").read_text()
    assert (
        "4 finished runs in 2 groups, grouped by norm.projector, norm.predictor; 1 run left out."
        in page
    )
    assert page.count("<img ") == 5
    with (output / "table.csv").open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["healthy 2/2", "complete 2/2"]
    printed = capsys.readouterr()
    assert "left out: broken is broken: summary.json cannot be read" in printed.err
    assert re.search(r"heads none/none\W+complete 2/2", printed.out)
    assert "report.html" in printed.out


def test_a_second_report_reads_the_runs_again_and_not_the_first(tmp_path):
    write_run(tmp_path / "a", top1=None)
    report(ReportSettings(runs=str(tmp_path)))
    first = (tmp_path / "report" / "table.csv").read_text()
    report(ReportSettings(runs=str(tmp_path)))
    assert (tmp_path / "report" / "table.csv").read_text() == first


def test_globs_and_several_folders(study, tmp_path):
    output = tmp_path / "out" / "here"
    given = [f"{study}/*none*", str(write_run(tmp_path / "alone", config_of(heads="ln")))]
    report(
        ReportSettings(runs=given, output=str(output), title="my title", group_by="norm.projector")
    )
    text = (output / "table.md").read_text()
    assert text.startswith("# my title\n")
    assert "3 finished runs in 2 groups, grouped by norm.projector" in text


def test_arms_name_the_rows_in_the_order_of_their_study(tmp_path):
    for folder, arm, heads in (("a", "ln", "ln"), ("b", "none", "none"), ("c", "byol", "bn")):
        summary = {"study": "byol_collapse", "arm": arm, "evidence": f"evidence of {arm}"}
        write_run(tmp_path / folder, config_of(heads=heads), summary=summary)
    output = report(ReportSettings(runs=str(tmp_path)))
    text = (output / "table.md").read_text()
    assert text.startswith("# byol_collapse\n")
    assert "| arm | seeds |" in text
    with (output / "table.csv").open() as file:
        assert [row["arm"] for row in csv.DictReader(file)] == ["byol", "none", "ln"]
    assert "evidence of none" in (output / "report.html").read_text()


def test_only_chosen_figures_are_drawn(study):
    for figures in ("cosines", ["ssl_norm.reporting.figures.collapse:cosines"]):
        output = report(ReportSettings(runs=str(study), figures=figures))
        assert [file.name for file in output.glob("*.png")] == ["cosines.png"]


def few_labels(figures, arms=("ubn", "bn")):
    return Study(
        name="few_labels",
        arms={arm: [] for arm in arms},
        seeds=[0, 1, 2],
        grid={"labels_per_class": [4, 10, 40]},
        tool="finetune",
        figures=list(figures),
    )


@pytest.fixture
def finetuned(tmp_path, monkeypatch):
    """Return the folder of a study of tools/finetune.py, and a function that sets its figures."""

    def draw(*figures):
        monkeypatch.setattr(studies, "study_tools", lambda: {"few_labels": "finetune"})
        monkeypatch.setattr(studies, "read_study", lambda name: few_labels(figures))

    return write_few_labels(tmp_path / "study"), draw


def test_a_study_of_finetuning_draws_its_figures_with_their_numbers(finetuned, capsys):
    root, draw = finetuned
    draw(
        {"name": "by_labels", "x": "labels_per_class", "y": "top1", "lines": ["arm"]},
        {"name": "by_nothing", "x": "labels_per_clas", "y": "top1"},
    )
    write_finetune(root / "running", finetune_config(seed=7), summary=False)
    report(ReportSettings(runs=str(root)))
    output = root / "report"
    drawn = {"by_labels.png", "by_labels.csv"}
    assert {file.name for file in output.iterdir()} == FILES | drawn
    with (output / "by_labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["line"] == "bn"]
    assert [float(row["mean"]) for row in rows] == pytest.approx(TOP1["bn"])
    with (output / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["labels_per_class"]) for row in rows] == [
        (arm, labels) for arm in ("ubn", "bn") for labels in ("4", "10", "40")
    ]
    assert not {"verdict", "collapsed_at_step", "linear_top1"} & rows[0].keys()
    text = (output / "table.md").read_text()
    assert "| labels_per_class | ubn | bn |" in text
    page = (output / "report.html").read_text()
    assert page.count("<img ") == 1
    assert page.index("<img ") < page.index("labels_per_class</th>")
    printed = capsys.readouterr()
    assert "figure by_nothing is not drawn" in printed.err
    assert "running is running or interrupted: step 100 of 100, last row" in printed.err
    assert "in no run" not in printed.err


def test_norms_of_a_grid_stand_in_the_order_of_their_study(tmp_path):
    sizes = (16, 2, 8)
    for size in sorted(sizes):
        config = finetune_config({"name": "bn", "batch_size": size}, study="few_labels")
        write_finetune(tmp_path / str(size), config)
    runs = runs_in(tmp_path)
    grid = {"norm.encoder": [{"name": "bn", "batch_size": size} for size in sizes]}
    ordered = in_study_order(runs, [Study(name="few_labels", grid=grid)])
    assert [run.name for run in ordered] == ["16", "2", "8"]


def test_a_wrong_figure_is_one_line_before_anything_is_written(finetuned):
    root, draw = finetuned
    draw({"name": "f", "x": "labels_per_class"})
    message = "configs/study/few_labels.yaml, figure f: y=... is needed"
    with pytest.raises(UserError, match=message):
        report(ReportSettings(runs=str(root)))
    assert not (root / "report").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runs": "{root}/nowhere"}, "there is no such folder, and no folder matches it"),
        ({"runs": "{root}/a,{root}/b"}, r"give several as runs=\[a,b\]"),
        ({"runs": "{root}/empty"}, "there is no run folder"),
        (
            {"runs": "{root}/running"},
            "1 run folder, none of a finished run: running is running or inter",
        ),
        ({"runs": "{root}/study", "group_by": "norm.head"}, "unknown key in group_by 'norm.head'"),
        ({"runs": "{root}/study", "figures": "cosine"}, "unknown figure 'cosine'.*'cosines'"),
        ({"runs": "{root}/study", "output": "{root}/file/x"}, "cannot be written to"),
    ],
)
def test_wrong_input_is_one_line(study, tmp_path, settings, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    write_run(tmp_path / "running", summary=False)
    with pytest.raises(UserError, match=message) as raised:
        report(
            ReportSettings(**{key: text.format(root=tmp_path) for key, text in settings.items()})
        )
    assert "\n" not in str(raised.value)
