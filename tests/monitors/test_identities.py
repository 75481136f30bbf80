"""What leaves monitors as they are: lengths, rotations, shifts."""

import pytest
import torch

from ssl_norm import monitors
from ssl_norm.monitors import MONITORS
from tests.monitors import samples

OF_LENGTHS = {"lidar"}  # its delta is a length
OF_AXES = {"feature_std", "dead_dimensions", "off_diagonal_correlation"}
SHIFT_INVARIANT = {
    "effective_rank",
    "participation_ratio",
    "ne_sum",
    "alpha_req",
    "off_diagonal_correlation",
    "lidar",
}
OF_DIRECTIONS = {
    "positive_cosine",
    "negative_cosine",
    "feature_std",
    "dead_dimensions",
    "alignment",
    "uniformity",
    "cev_auc",
}


def measure(name, change=lambda embeddings: embeddings):
    given = samples.inputs(MONITORS[name].inputs)
    return getattr(monitors, name)(*map(change, given)).item()


@pytest.mark.parametrize("name", sorted(MONITORS.keys() - OF_LENGTHS))
@pytest.mark.parametrize("factor", [1e-20, -3.0, 1e20])
def test_a_common_factor_does_not_matter(name, factor):
    assert measure(name, lambda z: factor * z) == pytest.approx(measure(name), rel=1e-9)


@pytest.mark.parametrize("name", sorted(MONITORS.keys() - OF_AXES))
def test_rotations_do_not_matter(name):
    rotation = samples.rotation(samples.DIMENSIONS)
    assert measure(name, lambda z: z @ rotation) == pytest.approx(measure(name), rel=1e-9)


@pytest.mark.parametrize("name", sorted(SHIFT_INVARIANT))
def test_a_common_shift_does_not_matter(name):
    assert measure(name, lambda z: z + 100) == pytest.approx(measure(name), rel=1e-7)


@pytest.mark.parametrize("name", sorted(MONITORS.keys() - SHIFT_INVARIANT - {"alignment"}))
def test_a_common_shift_shows_in_the_others(name):
    assert abs(measure(name, lambda z: z + 100) - measure(name)) > 0.01


@pytest.mark.parametrize("name", sorted(OF_DIRECTIONS))
def test_lengths_of_rows_do_not_matter(name):
    lengths = 10.0 ** torch.linspace(-20, 20, 40, dtype=torch.float64)[:, None]
    assert measure(name, lambda z: lengths * z) == pytest.approx(measure(name), rel=1e-9)
