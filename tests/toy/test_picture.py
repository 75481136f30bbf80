import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from ssl_norm.figures import pixels
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms import make_norm
from ssl_norm.toy.classifiers import Moons, two_moons
from ssl_norm.toy.picture import PlaneMap, axis, draw_classifiers, moons_figure, plane_map


def moved_by_the_batch():
    """Return a model with its boundary at the mean of the first coordinate in the batch."""
    linear = torch.nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    return torch.nn.Sequential(make_norm("bn", 2), linear).eval()


def test_probability_is_of_the_population_and_deviation_of_the_batches():
    model = moved_by_the_batch()
    grid = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0], [9.0, 2.0]])
    spread = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    found = plane_map("a", model, grid, [spread, spread + torch.tensor([1.0, 0.0])], (2, 3))
    expected = torch.sigmoid(4 * grid[:, 0] / (1 + 1e-5) ** 0.5).view(2, 3)
    torch.testing.assert_close(torch.from_numpy(found.probability).float(), expected)
    variance = 2.0 + 1e-5  # unbiased, of either batch
    draws = [torch.sigmoid(4 * (grid[:, 0].double() - mean) / variance**0.5) for mean in (0, 1)]
    deviation = torch.stack(draws).std(0).view(2, 3)
    torch.testing.assert_close(torch.from_numpy(found.deviation), deviation, rtol=1e-4, atol=1e-6)
    assert model[0].running_mean.tolist() == [0, 0]


def test_the_plane_has_a_margin_around_all_points():
    moons = two_moons(2, 50, noise=0.1, seed=0)
    points = torch.cat([moons.labelled, moons.unlabelled])
    for dimension in (0, 1):
        places = axis(moons, dimension)
        assert places[0] == pytest.approx(points[:, dimension].min().item() - 0.5)
        assert places[-1] == pytest.approx(points[:, dimension].max().item() + 0.5, abs=0.03)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_writes_a_picture(tmp_path, suffix):
    moons = two_moons(2, 30, noise=0.1, seed=0)
    models = {
        norm: mlp_head(2, hidden_dim=4, output_dim=2, layers=2, norm=norm).eval()
        for norm in ("bn", "ubn")
    }
    output = tmp_path / f"toy.{suffix}"
    draw_classifiers(models, moons, output, draws=2, unlabelled=6, seed=0, caption="five seeds")
    head = output.read_bytes()[:8]
    assert head.startswith({"png": b"\x89PNG", "svg": b"<?xml"}[suffix])


X, Y = np.linspace(-1, 1, 21), np.linspace(-2, 2, 31)
POINTS = Moons(
    labelled=torch.tensor([[-0.5, 0.0], [0.5, 1.0], [0.6, 1.0]]),
    labels=torch.tensor([0, 1, 1]),
    unlabelled=torch.tensor([[0.0, 0.0], [0.1, 0.2], [0.3, -1.0], [0.4, 1.5]]),
    truth=torch.tensor([0, 0, 1, 1]),
)


def made_map(name, boundary=0.0, deviation=0.1):
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
    maps = [made_map("bn: 80%"), made_map("ubn: 90%", 0.3)]
    figure = moons_figure(X, Y, maps, POINTS, "a caption")
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


def test_deviations_share_one_scale_from_zero_that_does_not_stretch_rounding():
    maps = [made_map("a", deviation=0.1), made_map("b", deviation=0.3)]
    figure = moons_figure(X, Y, maps, POINTS)
    meshes = [axes.collections[0] for axes in panels(figure)[2:]]
    assert [mesh.get_clim() for mesh in meshes] == [(0, 0.3), (0, 0.3)]
    assert float(meshes[0].get_array().max()) == pytest.approx(0.1)
    figure = moons_figure(X, Y, [made_map("a", deviation=1e-9)], POINTS)
    assert panels(figure)[1].collections[0].get_clim() == (0, 0.05)


def test_labelled_points_are_large_and_differ_in_colour_and_marker():
    figure = moons_figure(X, Y, [made_map("a")], POINTS)
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
