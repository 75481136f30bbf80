import pytest
import torch

from ssl_norm.commands.toy_picture import axis, draw_classifiers, plane_map
from ssl_norm.data.moons import two_moons
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms import make_norm


def moved_by_the_batch():
    """Return a model whose boundary is where the first coordinate is its mean in the batch, and population mean 0."""
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
