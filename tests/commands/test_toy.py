import re
from math import nan

import pytest
import torch

from ssl_norm.commands.toy import cell, comparison, recipe_of, samples_of, toy, train_all
from ssl_norm.settings.finetune import UbnSettings
from ssl_norm.settings.tools import ToySettings
from ssl_norm.text import Statistic
from ssl_norm.toy.classifiers import accuracies

SMALL = {"unlabelled": 40, "hidden_dim": 8, "layers": 2, "steps": 5, "draws": 2, "gap_labels": ()}
RATIO = UbnSettings(ratio=1)


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


def test_cells_say_at_how_many_seeds_a_score_is_defined():
    assert cell(Statistic.mean_sd, [80.0, nan, 90.0], 1) == "85.0 +- 7.1 (2 seeds)"
    assert cell(Statistic.mean_sd, [nan, nan], 1) == "-"
    # t(0.975, 2) = 4.3027, sd 1
    assert cell(Statistic.mean_interval, [1.0, 2.0, 3.0], 2) == "2.00 (-0.48 to 4.48)"


def test_seeds_are_consecutive_and_examples_are_of_the_first():
    config = ToySettings(seed=3, seeds=2, control={"name": "gn", "groups": 2}, **SMALL)
    study = train_all(config)
    assert next(iter(study.scores)).startswith("gn")
    alone = train_all(ToySettings(seed=4, seeds=1, control="none", **SMALL))
    assert study.scores["ubn"][1] == alone.scores["ubn"][0]
    assert list(study.examples) == ["bn", "ubn"]
    for name, (model, starts) in study.examples.items():
        found = accuracies(model, samples_of(config, 3, 4))
        assert found == {key: study.scores[name][0][key] for key in found}
        assert torch.equal(starts.inputs[:8], samples_of(config, 3, 4).labelled)
    assert [len(rows[0]) for rows in study.scores.values()] == [2, 13, 13]


@pytest.mark.parametrize("samples", ["two_moons", "digits"])
def test_gaps_are_of_every_number_of_labels_seed_and_layer(samples):
    settings = SMALL | {"gap_labels": (3, 1), "toy": samples, "layers": 3, "ubn": RATIO}
    study = train_all(ToySettings(seeds=2, **settings))
    for norm in ("bn", "ubn"):
        assert list(study.gaps[norm]) == [1, 3, 4]
        for seeds in study.gaps[norm].values():
            assert [len(layers) for layers in seeds] == [2, 2]
            assert seeds[0] != seeds[1]


def test_joint_batches_grow_with_the_labels_up_to_all_samples():
    config = ToySettings(unlabelled=40, labels_per_class=2, ubn=UbnSettings(ratio=2))
    assert [recipe_of(config, labels).unlabelled for labels in (1, 2, 8, 16)] == [4, 8, 32, 40]


def test_only_ubn_has_the_option_of_a_gradient_through_statistics():
    constant, flowing = (
        train_all(ToySettings(seeds=1, ubn=UbnSettings(gradient=gradient), **SMALL)).examples
        for gradient in (False, True)
    )
    same = [bool((constant[n][0][0].weight == flowing[n][0][0].weight).all()) for n in constant]
    assert same == [True, False]


@pytest.mark.parametrize("samples", ["two_moons", "digits"])
def test_draws_the_pictures_and_prints_the_tables(tmp_path, capsys, samples):
    output = tmp_path / "new" / "picture.png"
    toy(ToySettings(seeds=2, output=str(output), toy=samples, **(SMALL | {"ubn": RATIO})))
    assert output.read_bytes().startswith(b"\x89PNG")
    assert output.with_name("picture_gap.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    labelled = {"two_moons": 8, "digits": 40}[samples]
    assert f"40 unlabelled samples, {labelled} labelled, 2 seeds" in printed
    for title in ("starting points, 2 seeds", "gap in deviations, 2 seeds"):
        assert title in printed
    assert [
        re.search(rf"{norm} +│ \d+\.\d \+- \d", printed) is not None
        for norm in ("none", "bn", "ubn")
    ] == [True] * 3
    assert "over 2 seeds, ubn is better than bn at" in printed
    assert f"written to {output}" in printed
