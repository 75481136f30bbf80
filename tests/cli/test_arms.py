"""Arms, seeds and grids of studies on the command line."""

import pytest

from ssl_norm.cli.arms import choose_arms
from ssl_norm.errors import UserError
from ssl_norm.settings.compose import groups_of
from ssl_norm.settings.study import read_study

COLLAPSE = "study=byol_collapse"
ARMS = "arm=contrastive,byol,projection_bn,prediction_bn,none,ln,random"
FEW = ["study=ubn_few_labels", "data.root=/x"]
GRID = "labels_per_class=4,10,40,100,500"


@pytest.mark.parametrize(
    ("typed", "before", "after"),
    [
        ([COLLAPSE, "data.root='/x'"], ["seed=0,1,2"], [ARMS]),  # all arms before the next seed
        ([COLLAPSE, "arm=none,ln"], ["seed=0,1,2"], []),
        ([COLLAPSE, "seed=5"], [], [ARMS]),
        ([COLLAPSE, "seed=5", "arm=none"], [], []),
        ([COLLAPSE, "seed=1", "arm=glob(*)"], [], []),
        (["norm.encoder=bn,gn"], [], []),
    ],
)
def test_a_sweep_runs_the_choices_that_are_not_typed(typed, before, after):
    assert choose_arms(typed, "pretrain", sweep=True) == [*before, *typed, *after]


def test_a_grid_is_swept_between_seeds_and_arms():
    arms = f"arm={','.join(read_study('ubn_few_labels').arms)}"
    assert choose_arms(FEW, "finetune", sweep=True) == ["seed=0,1,2", *FEW, GRID, arms]
    typed = [*FEW, "arm=ubn", "labels_per_class=4", "seed=7"]
    assert choose_arms(typed, "finetune", sweep=True) == typed


def test_a_single_run_is_as_typed():
    typed = [COLLAPSE, "arm=none"]
    assert choose_arms(typed, "pretrain", sweep=False) == typed


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ([COLLAPSE], [COLLAPSE, "has arms", "arm=contrastive | byol", "-m"]),
        ([COLLAPSE, "arm=nome"], ["byol_collapse has no arm 'nome'", "'none'?"]),
        ([COLLAPSE, "arm=ln,nome"], ["'nome'", "'none'?"]),
        (["study=byol_collapse,deep_bn"], ["alone; name one"]),
        (["arm=none"], ["arm=none", "study=..."]),
        (["study=cifar10_heads", "arm=none"], ["study=cifar10_heads has no arms"]),
    ],
)
def test_wrong_choices_are_one_line(typed, parts):
    with pytest.raises(UserError) as caught:
        choose_arms(typed, "pretrain", sweep=False)
    assert [part for part in parts if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_one_run_of_a_grid_chooses_its_value():
    with pytest.raises(UserError, match=r"has a grid: choose one with labels_per_class=4 \| 10"):
        choose_arms([*FEW, "arm=ubn"], "finetune", sweep=False)


def test_arms_are_no_group_with_files():
    assert "arm" not in groups_of("pretrain")
