import pytest
import torch

from ssl_norm.norms import make_norm
from ssl_norm.reporting.figures.calibration import calibration, channel_mean_spread
from tests.evaluate.problems import coloured_images
from tests.evaluate.runs import save_run, write_images
from tests.norms.test_contract import data
from tests.reporting.run_folders import config_of, groups_in, write_run

LAYERS = 10  # norms of tiny16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of runs with bn, rbn and gn in the encoder, of which rbn was calibrated by hand."""
    root = tmp_path_factory.mktemp("runs")
    images = write_images(root / "images", coloured_images(24, 16, 2, seed=0))

    def calibrate(learner):
        for name, parameter in learner.encoder.named_parameters():
            if name.endswith("center_weight"):
                torch.nn.init.constant_(parameter, -0.9)

    for norm in ("bn", "rbn", "gn"):
        run = save_run(root / norm, images, calibrate, norm={"encoder": norm})
        write_run(run, config_of(norm__encoder=norm))
    return root


def test_spread_equals_its_definition():
    x = data(6, 4, 3, 2)
    deviations = x.transpose(0, 1).flatten(1).std(1, correction=0)
    expected = x.mean((2, 3)).std(0, correction=0) / deviations
    torch.testing.assert_close(channel_mean_spread(x), expected)
    flat = x.mean((2, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(channel_mean_spread(flat), torch.ones(4).double())
    torch.testing.assert_close(channel_mean_spread(x - flat), torch.zeros(4).double())


def test_centring_shrinks_or_grows_the_spread_and_batch_norm_does_not():
    x = data(6, 4, 3, 2)
    before = channel_mean_spread(x)
    torch.testing.assert_close(channel_mean_spread(make_norm("bn", 4).double()(x)), before)
    for weight in (-0.5, 0.5):
        norm = make_norm({"name": "rbn", "calibration": "centring"}, 4).double()
        torch.nn.init.constant_(norm.center_weight, weight)
        assert (weight * (channel_mean_spread(norm(x)) - before) > 0).all()


def test_figures_of_a_run_with_rbn_beside_one_with_bn(folder):
    spread, weights = calibration(groups_in(folder))
    assert (spread.name, weights.name) == ("calibration_spread", "calibration_weights")
    assert len(spread.table.rows) == 2 * LAYERS
    for group, _, before, after in spread.table.rows:
        assert group in ("encoder bn", "encoder rbn")
        assert after == before if group == "encoder bn" else float(after) < 0.5 * float(before)
    titles = [axes.get_title() for axes in weights.figure.axes]
    assert titles == ["center weight", "scale weight", "scale bias"]


def test_no_figure_without_rbn_or_its_checkpoint(folder, tmp_path):
    groups = groups_in(folder)
    assert list(calibration([group for group in groups if "rbn" not in group.label])) == []
    write_run(tmp_path / "a", config_of(norm__encoder="rbn"))
    write_run(tmp_path / "b", config_of(norm__encoder={"groups": 4}))  # its name is gone
    assert list(calibration(groups_in(tmp_path))) == []
