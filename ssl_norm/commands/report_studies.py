"""What the studies that runs are of say about their report: the order of rows, and the figures."""

from collections.abc import Sequence

from ssl_norm.report.checkpoint_curves import course_figures
from ssl_norm.report.figure_spec import figure_specs
from ssl_norm.report.figures import Drawing, all_figures
from ssl_norm.report.finetune_figures import finetune_figures
from ssl_norm.report.grouping import Group
from ssl_norm.report.layer_figures import layer_figures
from ssl_norm.report.quantities import options
from ssl_norm.report.read import RunRecord
from ssl_norm.report.settings import SUBJECT, norm_text, settings_of
from ssl_norm.report.study_figures import study_figures
from ssl_norm.report.table import unique
from ssl_norm.settings.study import Study, read_study, study_tools


def studies_of(runs: Sequence[RunRecord]) -> list[Study]:
    """Return the studies that runs are of, as far as their files are here."""
    names = unique(study_name(run) for run in runs)
    return [read_study(name) for name in names if name in study_tools()]


def study_name(run: RunRecord) -> str:
    """Return the study that a run is of, nothing where it is of none."""
    return settings_of(run).get("study", "")


def in_study_order(runs: Sequence[RunRecord], found: Sequence[Study]) -> list[RunRecord]:
    """Return runs with arms and grid of a study in the order of its file; others stay where they are."""
    by_name = {study.name: study for study in found}

    def place(run: RunRecord) -> list[int]:
        study, settings = by_name.get(study_name(run)), settings_of(run)
        if study is None:
            return [0]
        choices = {"arm": tuple(study.arms), **study.typed_grid}
        values = {key: [as_setting(key, value) for value in choices[key]] for key in choices}
        return [
            typed.index(settings[key]) if settings.get(key) in typed else 0
            for key, typed in values.items()
        ]

    return sorted(runs, key=place)


def as_setting(key: str, typed: str) -> str:
    """Return a value as typed in a study in the words of `settings_of`, in which a norm is its specification."""
    return norm_text(options(typed)) if key in SUBJECT else typed


def all_drawings(
    groups: Sequence[Group], found: Sequence[Study]
) -> tuple[list[Drawing], list[str]]:
    """Return every figure, those that the studies ask for first, and lines on what is not in them."""
    drawings, remarks, drawn = list[Drawing](), list[str](), set[str]()
    runs = [run for group in groups for run in group.runs]
    for study in found:
        specs = figure_specs(study.name, study.figures)
        own, lines = study_figures(specs, [run for run in runs if study_name(run) == study.name])
        several = any(drawing.name in drawn for drawing in own)
        drawings += [d._replace(name=f"{study.name}_{d.name}") for d in own] if several else own
        drawn |= {drawing.name for drawing in own}
        remarks += lines
    with_figures = {study.name for study in found if study.figures}
    others = [group for group in groups if study_name(group.runs[0]) not in with_figures]
    return [
        *drawings,
        *finetune_figures(others),
        *all_figures(groups),
        *course_figures(groups),
        *layer_figures(groups),
    ], remarks
