import re
from pathlib import Path

import pytest

from ssl_norm.commands.toy import cell, comparison, moons_of, toy, train_all
from ssl_norm.settings.finetune import UbnSettings
from ssl_norm.settings.tools import ToySettings
from ssl_norm.toy.classifiers import accuracies
from tests import warm

TOOL = Path(__file__).resolve().parents[2] / "tools" / "toy.py"
SMALL = {"unlabelled": 40, "hidden_dim": 8, "layers": 2, "steps": 5, "draws": 2}


def scores_of(bn, ubn):
    return {
        name: [{"population": value, "batch": 0.0} for value in values]
        for name, values in (("none", bn), ("bn", bn), ("ubn", ubn))
    }


def test_the_comparison_counts_seeds_and_gives_the_spread_of_paired_differences():
    text = comparison(scores_of([0.5, 0.8, 0.7, 0.6], [0.6, 0.8, 0.6, 0.9]))
    # differences 10, 0, -10, 30: mean 7.5, sample standard deviation 17.1
    assert text == "over 4 seeds, ubn is better than bn at 2 and worse at 1: +7.5 +- 17.1 points"
    assert comparison(scores_of([0.5], [0.25])).endswith(
        "over 1 seed, ubn is better than bn at 0 and worse at 1: -25.0 points"
    )


def test_one_value_has_no_spread():
    assert cell([80.0]) == "80.0"
    assert cell([80.0, 90.0]) == "85.0 +- 7.1"


def test_cells_say_at_how_many_seeds_a_score_is_defined():
    nan = float("nan")
    assert cell([80.0, 90.0]) == "85.0 +- 7.1"
    assert cell([80.0, nan, 90.0]) == "85.0 +- 7.1 (2 seeds)"
    assert cell([nan, nan]) == "-"


def test_seeds_count_on_and_the_models_are_of_the_first():
    config = ToySettings(seed=3, seeds=2, control={"name": "gn", "groups": 2}, **SMALL)
    models, scores = train_all(config)
    assert list(models) == list(scores)
    assert next(iter(scores)).startswith("gn")
    alone = train_all(ToySettings(seed=4, seeds=1, control="none", **SMALL))[1]
    assert scores["ubn"][1] == alone["ubn"][0]
    for name, model in models.items():
        found = accuracies(model, moons_of(config, 3))
        assert found == {key: scores[name][0][key] for key in found}
        assert ("auroc" in scores[name][0]) == (name in ("bn", "ubn"))


def test_the_gradient_through_statistics_is_an_option_of_ubn_alone():
    constant, flowing = (
        train_all(ToySettings(seeds=1, ubn=UbnSettings(gradient=gradient), **SMALL))[0]
        for gradient in (False, True)
    )
    same = [bool((constant[n][0].weight == flowing[n][0].weight).all()) for n in constant]
    assert same == [True, True, False]


def test_draws_the_picture_and_prints_the_table(tmp_path, capsys):
    output = tmp_path / "new" / "picture.png"
    toy(ToySettings(seeds=2, output=str(output), **SMALL))
    assert output.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "40 unlabelled points, 8 labelled, 2 seeds" in printed
    assert [
        re.search(rf"{norm} +│ \d+\.\d \+- \d", printed) is not None
        for norm in ("none", "bn", "ubn")
    ] == [True] * 3
    assert "over 2 seeds, ubn is better than bn at" in printed
    assert f"written to {output}" in printed


@pytest.mark.parametrize(
    ("argument", "code", "message"),
    [
        ("label_per_class=4", 2, "unknown key 'label_per_class'"),
        ("ubn.ratios=4", 2, "ubn has no key 'ratios'"),
        ("unlabelled=10", 2, "makes 32 unlabelled ones a step, of unlabelled=10"),
        ("--seeds=4", 2, "settings are given as key=value"),
    ],
)
def test_the_tool_answers_wrong_input_in_one_line(argument, code, message):
    done = warm.run([TOOL, argument])
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_lists_every_key():
    done = warm.run([TOOL, "--help"])
    for key in ("labels_per_class=", "ubn.ratio=", "ubn.gradient=", "control=", "output=toy.png"):
        assert key in done.stdout
