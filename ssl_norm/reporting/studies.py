"""Studies of runs: the order of their rows, and the figures of a report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ssl_norm.errors import UserError
from ssl_norm.reporting.figures import FIGURES
from ssl_norm.reporting.figures.parts import FigureFile
from ssl_norm.reporting.figures.study import study_figures
from ssl_norm.reporting.figures.study_data import figure_specs
from ssl_norm.reporting.frame import SUBJECT, Group, all_runs, norm_options
from ssl_norm.reporting.read import FINETUNE, RunRecord, norm_text
from ssl_norm.settings.study import Study, read_study, study_tools
from ssl_norm.text import unique

Draw = Callable[[Sequence[Group]], Iterable[FigureFile]]


def studies_of(runs: Sequence[RunRecord]) -> list[Study]:
    """Return those studies of runs whose files exist."""
    return [read_study(name) for name in unique(run.study for run in runs) if name in study_tools()]


def in_study_order(runs: Sequence[RunRecord], studies: Iterable[Study]) -> list[RunRecord]:
    """Sort the runs of studies by arm and grid; other runs keep their places."""
    places = {
        study.name: {
            key: [norm_text(norm_options(v)) if key in SUBJECT else v for v in values]
            for key, values in {"arm": list(study.arms), **study.typed_grid}.items()
        }
        for study in studies
    }

    def place(run: RunRecord) -> list[int]:
        return [
            values.index(run.texts[key]) if run.texts.get(key) in values else 0
            for key, values in places.get(run.study, {}).items()
        ]

    return sorted(runs, key=place)


def figures_named(names: Iterable[str] | None = None) -> dict[str, Draw]:
    """Return functions of figures by name, of `FIGURES` or `module:function`; None: all.

    Raises:
        UserError: a name is unknown.
    """
    try:
        return FIGURES.load_all() if names is None else {n: FIGURES.load(n) for n in names}
    except ValueError as error:
        raise UserError(f"figures: {error}") from error


def all_figures(
    groups: Sequence[Group], studies: Sequence[Study], draws: Mapping[str, Draw]
) -> tuple[list[FigureFile], list[str]]:
    """Return every figure, those of the studies first, and lines on data that they lack.

    Raises:
        UserError: an entry of a study's figures is malformed, or a figure of another package fails.
    """
    files: list[FigureFile] = []
    remarks: list[str] = []
    for study in studies:
        runs = [run for run in all_runs(groups) if run.study == study.name]
        drawn, lines = study_figures(figure_specs(study.name, study.figures), runs)
        taken = {file.name for file in files}
        if any(file.name in taken for file in drawn):
            drawn = [replace(file, name=f"{study.name}_{file.name}") for file in drawn]
        files += drawn
        remarks += lines
    with_figures = {study.name for study in studies if study.figures}
    others = [
        group
        for group in groups
        if group.runs[0].tool != FINETUNE or group.runs[0].study not in with_figures
    ]
    for key, draw in draws.items():
        with FIGURES.blaming(key, draw):
            made: Any = draw(others)
            for file in made if isinstance(made, Iterable) else (made,):
                if not isinstance(file, FigureFile):
                    name, found = getattr(draw, "__qualname__", draw), type(file).__name__
                    raise UserError(f"figures: {name} yields a {found}; a FigureFile expected")
                if key not in FIGURES.built_in:
                    file.figure.draw_without_rendering()  # raises what saving would raise
                files.append(file)
    return files, remarks
