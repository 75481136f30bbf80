import pytest

from ssl_norm.figures import cosine_figure


def rows(verdicts, columns=()):
    fixed = {"loss": 1.0, "positive_cosine": 0.9, "feature_std": 0.5} | dict.fromkeys(columns, 1.0)
    return [
        fixed | {"step": 10 * (index + 1), "negative_cosine": 0.1 * index, "verdict": verdict}
        for index, verdict in enumerate(verdicts)
    ]


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines() if line.get_label()[0] != "_"}


def test_draws_the_three_columns_over_their_steps():
    figure = cosine_figure([("a run", rows(["healthy"] * 3, columns=["rank_me"]))])
    (axes,) = figure.axes
    drawn = lines(axes)
    assert set(drawn) == {"positive cosine", "negative cosine", "feature std"}
    assert drawn["negative cosine"].get_xdata().tolist() == [10, 20, 30]
    assert drawn["negative cosine"].get_ydata().tolist() == pytest.approx([0, 0.1, 0.2])
    assert axes.get_title() == "a run"
    assert axes.get_xlabel() == "step"
    assert axes.get_ylabel() == "cosine, feature std"


def test_a_healthy_run_has_no_shade_and_a_change_is_marked_where_it_happens():
    runs = [("a", rows(["healthy"] * 4)), ("b", rows(["healthy"] * 2 + ["complete"] * 3))]
    healthy, collapsing = cosine_figure(runs).axes
    assert not healthy.patches
    assert not healthy.texts
    (shade,) = collapsing.patches
    assert (shade.get_x(), shade.get_width()) == (30, 20)
    assert "complete" in [text.get_text() for text in collapsing.texts]


def test_the_last_verdict_is_shaded_from_the_step_at_which_the_collapse_began():
    late = rows(["uncertain"] * 2 + ["complete"])
    whole, half = cosine_figure([("a", late), ("b", late)], [8, 15]).axes
    (shade,) = whole.patches
    assert (shade.get_x(), shade.get_width()) == (10, 20)
    assert [text.get_text() for text in whole.texts] == ["complete"]
    assert [(shade.get_x(), shade.get_width()) for shade in half.patches] == [(10, 5), (15, 15)]


def test_a_short_stretch_is_shaded_and_in_the_legend_but_not_named():
    figure = cosine_figure([("a", rows(["uncertain"] + ["complete"] * 60))])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["complete"]
    assert len(axes.patches) == 2
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named[:3] == ["positive cosine", "negative cosine", "feature std"]
    assert named[3:] == ["uncertain", "complete"]


def test_many_runs_share_one_axis_in_lines_of_four():
    figure = cosine_figure([(f"run {index}", rows(["healthy"] * 2)) for index in range(6)])
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in visible] == [f"run {index}" for index in range(6)]
    assert len({axes.get_ylim() for axes in visible}) == 1
    assert {axes.get_subplotspec().rowspan.start for axes in visible} == {0, 1}


def test_negative_cosines_and_gaps_stay_on_the_axis():
    run = rows(["healthy"] * 3)
    run[1]["negative_cosine"], run[2]["positive_cosine"] = -0.6, float("nan")
    (axes,) = cosine_figure([("a", run)]).axes
    assert axes.get_ylim()[0] == pytest.approx(-0.65)


def test_one_row_and_rows_without_verdict_are_drawn():
    run = rows(["complete"])
    assert cosine_figure([("a", run)]).axes[0].get_lines()
    old = [{name: value for name, value in row.items() if name != "verdict"} for row in run * 2]
    assert not cosine_figure([("a", old)]).axes[0].patches


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="runs: at least one run expected"):
        cosine_figure([])
    with pytest.raises(ValueError, match="'x' has no rows"):
        cosine_figure([("x", [])])
    with pytest.raises(ValueError, match="collapsed_at: a step of each of 1 runs expected, got 2"):
        cosine_figure([("x", rows(["healthy"]))], [8, None])
