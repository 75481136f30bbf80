"""Figures of one run: cosines, layers and spectra."""

import os
import subprocess
import sys
from math import nan
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import LogNorm

from ssl_norm.figures import cosine_figure, layer_figure, pixels, spectrum_figure
from ssl_norm.monitors.layers import LayerRow


def run_of(verdicts, columns=()):
    fixed = {"loss": 1.0, "positive_cosine": 0.9, "feature_std": 0.5} | dict.fromkeys(columns, 1.0)
    return [
        fixed | {"step": 10 * (index + 1), "negative_cosine": 0.1 * index, "verdict": verdict}
        for index, verdict in enumerate(verdicts)
    ]


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines() if line.get_label()[0] != "_"}


def test_draws_the_three_columns_over_their_steps():
    (axes,) = cosine_figure("a run", run_of(["healthy"] * 3, columns=["rank_me"])).axes
    drawn = lines(axes)
    assert set(drawn) == {"positive cosine", "negative cosine", "feature std"}
    assert drawn["negative cosine"].get_xdata().tolist() == [10, 20, 30]
    assert drawn["negative cosine"].get_ydata().tolist() == pytest.approx([0, 0.1, 0.2])
    assert (axes.get_title(), axes.get_xlabel()) == ("a run", "step")
    assert (len(axes.patches), len(axes.texts)) == (0, 0)


@pytest.mark.parametrize(
    ("verdicts", "began", "shades"),
    [
        (["healthy"] * 2 + ["complete"] * 3, None, [(30, 20)]),
        (["uncertain"] * 2 + ["complete"], 8, [(10, 20)]),
        (["uncertain"] * 2 + ["complete"], 15, [(10, 5), (15, 15)]),
    ],
)
def test_verdicts_are_shaded_from_the_step_at_which_the_collapse_began(verdicts, began, shades):
    (axes,) = cosine_figure("a", run_of(verdicts), began).axes
    assert [(shade.get_x(), shade.get_width()) for shade in axes.patches] == shades
    assert "complete" in [text.get_text() for text in axes.texts]


def test_a_short_stretch_is_shaded_and_in_the_legend_but_not_named():
    figure = cosine_figure("a", run_of(["uncertain"] + ["complete"] * 60))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["complete"]
    assert len(axes.patches) == 2
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["positive cosine", "negative cosine", "feature std", "uncertain", "complete"]


def test_gaps_single_rows_and_rows_without_verdict_are_drawn():
    run = run_of(["healthy"] * 3)
    run[1]["negative_cosine"], run[2]["positive_cosine"] = -0.6, float("nan")
    assert cosine_figure("a", run).axes[0].get_ylim()[0] == pytest.approx(-0.65)
    run = run_of(["complete"])
    assert cosine_figure("a", run).axes[0].get_lines()
    old = [{name: value for name, value in row.items() if name != "verdict"} for row in run * 2]
    assert not cosine_figure("a", old).axes[0].patches


def row(step, layer, cosine=0.5, gradient=0.1):
    return LayerRow(step, layer, 0.9, cosine, 0.4, 8.0, gradient)


def meshes(figure):
    return [axes.collections[0] for axes in figure.axes if axes.get_title()]


def test_layers_stand_in_their_order_over_steps_on_a_scale_from_0_to_1():
    cosines = (("stem", 0.2), ("head", 0.7))
    figure = layer_figure([row(10 * step, *one) for step in range(1, 9) for one in cosines])
    cosine, gradient = meshes(figure)
    assert cosine.get_array().tolist() == [[0.2] * 8, [0.7] * 8]
    assert cosine.get_clim() == (0, 1)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stem", "head"]
    assert axes.yaxis_inverted()
    assert isinstance(gradient.norm, LogNorm)
    assert axes.get_xlim() == (5, 85)


def test_few_steps_carry_numbers_and_unmeasured_cells_do_not():
    rows = [row(1, "stem", 0.25), row(1, "head", nan), row(2, "stem", -0.125)]
    figure = layer_figure([one._replace(gradient_norm=nan) for one in rows])
    (mesh,) = meshes(figure)
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[False, False], [True, True]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.250", "-0.125"]


def test_other_values_and_the_gradient_norm_alone_and_at_zero():
    for value in ("positive_cosine", "feature_std", "rank_me"):
        mesh = meshes(layer_figure([row(1, "stem"), row(2, "stem")], value))[0]
        assert mesh.get_array().tolist() == [[getattr(row(1, "stem"), value)] * 2]
    (mesh,) = meshes(layer_figure([row(1, "stem"), row(2, "stem", gradient=0.0)], "gradient_norm"))
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[False, True]]
    assert layer_figure([row(1, "stem", gradient=0.0)], "gradient_norm")


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (5, 5), (100, 12)])
def test_at_most_twelve_lines_the_first_and_last_among_them(count, drawn):
    steps = list(range(10, 10 * count + 1, 10))
    rows = [np.linspace(0.02, 0.001, 16) * (index + 1) for index in range(count)]
    upper = spectrum_figure(steps, rows).axes[0]
    lines = upper.get_lines()
    assert len(lines) == drawn
    assert lines[0].get_ydata().tolist() == rows[0].tolist()
    assert lines[-1].get_ydata().tolist() == rows[-1].tolist()
    assert lines[0].get_xdata().tolist() == list(range(1, 17))
    assert str(steps[-1]) in upper.get_title()


def test_bands_add_up_to_the_total_variance():
    descending = np.sort(np.random.default_rng(0).uniform(0, 0.01, 100))[::-1]
    lower = spectrum_figure([0, 10], [descending, descending / 2]).axes[1]
    areas = {area.get_label(): area.get_paths()[0].vertices for area in lower.collections}
    assert list(areas) == ["1", "2 to 4", "5 to 16", "17 to 64", "65 to 100"]
    for name, step, height in (
        ("65 to 100", 0, descending.sum()), ("65 to 100", 10, descending.sum() / 2),
        ("1", 0, descending[0]),
    ):  # fmt: skip
        points = areas[name]
        assert points[points[:, 0] == step, 1].max() == pytest.approx(height)
    for dimensions, names in ((3, ["1", "2 to 3"]), (1, ["1"])):
        lower = spectrum_figure([0], [np.full(dimensions, 1 / dimensions)]).axes[1]
        assert [area.get_label() for area in lower.collections] == names


def test_zeros_and_rounding_errors_are_drawn_at_the_floor():
    upper = spectrum_figure([1, 2], [[0.5, 0.0, -1e-17], [0.0, 0.0, 0.0]]).axes[0]
    assert [line.get_ydata().tolist() for line in upper.get_lines()] == [
        [0.5, 1e-12, 1e-12], [1e-12] * 3,
    ]  # fmt: skip


def figures():
    return [
        cosine_figure("a", run_of(["healthy"] * 2)),
        spectrum_figure([1, 2], [[0.5, 0.1], [0.4, 0.2]]),
        layer_figure([row(1, "stem")]),
    ]


def test_pictures_are_opaque_on_white_whatever_the_user_s_style():
    before = "matplotlib.pyplot" in sys.modules
    usual = [pixels(figure) for figure in figures()]
    with mpl.rc_context({"figure.facecolor": "black", "font.size": 30, "text.color": "white"}):
        dark = [pixels(figure) for figure in figures()]
        assert mpl.rcParams["font.size"] == 30
    for picture, same in zip(usual, dark, strict=True):
        assert picture[0, 0].tolist() == [255, 255, 255]
        assert (picture < 100).any()
        assert np.array_equal(picture, same)
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_no_backend_is_needed_and_the_user_s_stays(backend):
    script = (
        "import os; from ssl_norm.figures import pixels, spectrum_figure;"
        "pixels(spectrum_figure([1], [[0.5]])); print(os.environ['MPLBACKEND'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "MPLBACKEND": backend},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, backend), ended.stderr


@pytest.mark.parametrize(
    ("draw", "arguments", "message"),
    [
        (cosine_figure, ("x", []), "'x' has none"),
        (layer_figure, ([],), "rows: at least one row"),
        (layer_figure, ([row(1, "stem")], "cosine"), "negative_cosine, .* expected, got 'cosine'"),
        (spectrum_figure, ([1], []), "got 0 for 1 steps"),
        (spectrum_figure, ([7], [[0.1, nan]]), r"at step 7, got shape \(2,\) with 1 values"),
    ],
)
def test_bad_input_is_one_clear_line(draw, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(*arguments)
