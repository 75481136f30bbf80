import numpy as np
import pytest
from matplotlib.colors import to_hex

from ssl_norm.figures import pixels
from ssl_norm.figures.moons import PlaneMap, Points, moons_figure

X, Y = np.linspace(-1, 1, 21), np.linspace(-2, 2, 31)
POINTS = Points(
    labelled=np.array([[-0.5, 0.0], [0.5, 1.0], [0.6, 1.0]]),
    labels=np.array([0, 1, 1]),
    unlabelled=np.array([[0.0, 0.0], [0.1, 0.2], [0.3, -1.0], [0.4, 1.5]]),
)


def plane_map(name, boundary=0.0, deviation=0.1):
    probability = np.broadcast_to(1 / (1 + np.exp(-5 * (X - boundary))), (31, 21)).copy()
    return PlaneMap(name, probability, np.full((31, 21), deviation))


def panels(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def contour_of(axes):
    (line,) = (
        c for c in axes.collections if getattr(c, "levels", None) is not None and len(c.levels) == 1
    )
    return line


def test_each_model_has_a_boundary_and_a_map_of_deviations():
    figure = moons_figure(
        X, Y, [plane_map("bn: 80%"), plane_map("ubn: 90%", 0.3)], POINTS, "a caption"
    )
    first, second, *_ = panels(figure)
    assert [axes.get_title() for axes in panels(figure)] == ["bn: 80%", "ubn: 90%", "", ""]
    for axes, boundary in ((first, 0.0), (second, 0.3)):
        line = contour_of(axes)
        assert line.levels.tolist() == [0.5]
        across = np.concatenate([path.vertices for path in line.get_paths()])[:, 0]
        np.testing.assert_allclose(across, boundary, atol=1e-2)
        assert min(line.get_linewidths()) > 2
    assert figure.get_supxlabel() == "a caption"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["no label", "label 0", "label 1", "decision boundary, population statistics"]


def test_deviations_share_one_scale_from_zero():
    figure = moons_figure(
        X, Y, [plane_map("a", deviation=0.1), plane_map("b", deviation=0.3)], POINTS
    )
    meshes = [axes.collections[0] for axes in panels(figure)[2:]]
    assert [mesh.get_clim() for mesh in meshes] == [(0, 0.3), (0, 0.3)]
    assert float(meshes[0].get_array().max()) == pytest.approx(0.1)


def test_deviations_of_rounding_are_not_stretched_over_the_scale():
    figure = moons_figure(X, Y, [plane_map("a", deviation=1e-9)], POINTS)
    assert panels(figure)[1].collections[0].get_clim() == (0, 0.05)


def test_labelled_points_are_large_and_differ_in_colour_and_marker():
    figure = moons_figure(X, Y, [plane_map("a")], POINTS)
    for axes in panels(figure):
        named = {c.get_label(): c for c in axes.collections if not c.get_label().startswith("_")}
        pale, zero, one = (named[name] for name in ("no label", "label 0", "label 1"))
        assert [len(c.get_offsets()) for c in (pale, zero, one)] == [4, 1, 2]
        assert zero.get_sizes()[0] > 10 * pale.get_sizes()[0]
        assert to_hex(zero.get_facecolor()[0]) != to_hex(one.get_facecolor()[0])
        assert len(zero.get_paths()[0].vertices) != len(one.get_paths()[0].vertices)


def test_a_model_without_a_boundary_in_sight_is_drawn():
    certain = PlaneMap("sure", np.full((31, 21), 0.9), np.zeros((31, 21)))
    assert pixels(moons_figure(X, Y, [certain], POINTS), dpi=40).shape[2] == 3


def test_wrong_input():
    with pytest.raises(ValueError, match="at least one model expected, got none"):
        moons_figure(X, Y, [], POINTS)
    turned = PlaneMap("a", np.zeros((21, 31)), np.zeros((31, 21)))
    with pytest.raises(
        ValueError, match=r"\(31, 21\) twice expected, 'a' has \(\(21, 31\), \(31, 21\)\)"
    ):
        moons_figure(X, Y, [turned], POINTS)
