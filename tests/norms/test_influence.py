"""Elements that share statistics, of every norm of the registry and of policies of batch norm."""

import pytest
import torch
from torch import nn

from ssl_norm.exit_code import exit_code_of
from ssl_norm.figures.influence import influence_figure
from ssl_norm.norms.__main__ import main
from ssl_norm.norms.influence import measure_influence
from ssl_norm.norms.registry import NORMS
from ssl_norm.norms.spec import parse_norm

ALL, ONE = slice(None), slice(1)


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_mixes_samples_in_training_if_it_declares_so_and_never_in_evaluation(name):
    trained, evaluated = (
        measure_influence(name, samples=4, channels=4, training=training)
        for training in (True, False)
    )

    assert trained.moved[1:].any() == parse_norm(name).batch_statistics
    assert not evaluated.moved[1:].any()


@pytest.mark.parametrize(
    ("norm", "training", "samples", "channels", "positions"),
    [
        ("bn", True, ALL, ONE, ALL),
        ("bn", False, ONE, ONE, ONE),
        ({"name": "bn", "evaluation": "batch"}, False, ALL, ONE, ALL),
        ({"name": "bn", "batch_size": 2}, True, slice(2), ONE, ALL),
        ({"name": "domain", "domains": 4}, True, ONE, ONE, ALL),
        ("ln", True, ONE, ALL, ALL),
        ({"name": "gn", "groups": 2}, True, ONE, slice(2), ALL),
        ("frn", True, ONE, ONE, ALL),
        ({"name": "zca", "groups": 2}, False, ONE, slice(2), ONE),
        ("rbn", False, ONE, ONE, ALL),
        ("none", True, ONE, ONE, ONE),
    ],
    ids=str,
)
def test_statistics_are_shared_over_the_elements_of_the_equation(
    norm, training, samples, channels, positions
):
    found = measure_influence(norm, samples=4, channels=4, training=training)

    assert found.moved[samples, channels, positions].all()
    assert found.moved.sum() == found.moved[samples, channels, positions].size
    assert found.groups is not None
    assert (found.groups.max() + 1) * found.moved.sum() == found.moved.size


def test_sets_that_overlap_are_no_groups_and_no_box():
    found = measure_influence("switch", samples=4, channels=4)

    assert found.groups is None
    assert found.moved[0].all()
    assert found.moved[:, 0].all()
    assert found.sentence() == "28 of 64 elements, which are not a box"


def test_a_norm_of_the_user_is_measured_and_drawn():
    measured = {
        ("own", mode): measure_influence(
            nn.BatchNorm2d, samples=2, channels=3, side=1, training=mode == "training"
        )
        for mode in ("training", "evaluation")
    }

    figure = influence_figure(measured)

    sentence = "all 2 samples x 1 of 3 channels x all 1 position"
    assert measured["own", "training"].sentence() == sentence
    assert [axes.get_title() for axes in figure.axes] == ["own\ntraining", "evaluation"]


class Constant(nn.Module):
    """A norm whose output does not depend on its input."""

    def __init__(self, num_features):
        super().__init__()

    def forward(self, x):
        return torch.zeros_like(x)


def test_every_element_is_in_its_own_group():
    found = measure_influence(Constant, samples=2, channels=3, side=1)

    assert found.moved.nonzero() == ([0], [0], [0])
    assert found.groups.flatten().tolist() == list(range(6))


def test_the_command_draws_the_norms_that_it_is_given(tmp_path, capsys):
    picture = tmp_path / "norms.png"

    code = main(["show", "{name: bn, batch_size: 2}", "--samples=4", f"--output={picture}"])

    printed = capsys.readouterr().out
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "training    2 of 4 samples x 1 of 8 channels x all 4 positions" in printed


@pytest.mark.parametrize("arguments", [["bm"], ["bn", "--samples=0"], ["bn", "--sides=2"], []])
def test_a_wrong_argument_is_one_line(arguments, capsys):
    assert exit_code_of(main, ["show", *arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
