"""Refused settings of the tools that read checkpoints and runs, and of tools/toy.py."""

import pytest

from ssl_norm.errors import UserError
from ssl_norm.settings.models import MODELS, validate
from tests.settings.refusals import START, accept, assert_refused

WRONG = {
    "linear_eval": {
        "checkpoint=": "empty path; name a file or folder",
        "checkpoint=null": "text expected, got null",
        "checkpont=x": "'checkpont' ... 'checkpoint'?",
        "data.limit=5": "data has no key 'limit'",
        "data.resident=true": "data has no key 'resident'",
        "data.name=foldr": "'foldr' ... 'folder'?",
        "norm.projector=bn": "norm has no key 'projector'; known: encoder",
        "norm.encoder={name: gn, groups: x}": "groups=x: an integer in",
        "epochs=3": "unknown key 'epochs'",
        "augment.mean=[0.5,0.5]": "3 numbers in brackets ... got [0.5, 0.5]",
        "augment.std=[0,1,1]": "augment.std[0]=0: a number in (0, 1]",
        "encoder.name=nope": "unknown encoder 'nope'",
        "protocol=svm": "'svm'; known: logistic, sgd",
        "labels=nan": "labels=nan: a number in (0, 1]",
        "knn.temperature=inf": "knn.temperature=inf: a number in [1e-06, ",
        "network=traget": "'traget'; known: online, target; did you mean 'target'?",
        "device=tpu": "'tpu'",
        "output=": "empty path",
    },
    "population_stats": {
        "views=trian": "'trian'; known: train, plain; did you mean 'train'?",
        "veiws=plain": "'veiws' ... 'views'?",
        "output=''": "empty path",
    },
    "doctor": {
        "check_steps=1": "check_steps=1: an integer in [2, ",
        "run_dir=x resume=true": "resume=true: a run is checked before its first step",
    },
    "diagnose": {"sampels=3": "'sampels' ... 'samples'?"},
    "report": {
        "runs=''": "a folder expected",
        "runs=[]": "a folder expected",
        "runs=3": "text or a list in brackets",
        "run=x": "'run' ... 'runs'?",
        "group=seed": "'group' ... 'group_by'?",
        "group_by=' '": "a key, such as norm.projector",
        "title=3": "text expected",
    },
    "toy": {
        "labels_per_class=100 ubn.ratio=4": "ubn.ratio=4 ... use a ratio from 0.005 to 2.5",
        "ubn.ratio=0.01": "makes 0 unlabelled ones a step",
        "control=gm": "unknown norm 'gm' ... 'gn'?",
        "control=rbn": "use a norm without them, such as none, ln or gn",
        "control=in": "one value per channel ... such as control=ln",
        "control={name: gn, groups: 7}": "hidden_dim=64 ... use 4: control='{name: gn, groups: 4}'",
        "output=toy.txt": "output=toy.txt: ... .png, .pdf, .svg",
        "output=' '": "empty path",
    },
}
CASES = [(tool, typed) for tool, cases in WRONG.items() for typed in cases]
TWO = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(("tool", "typed"), CASES)
def test_wrong_settings_are_one_line(tool, typed):
    assert_refused(tool, typed, WRONG[tool][typed])


@pytest.mark.parametrize("tool", ["linear_eval", "population_stats", "diagnose", "report"])
def test_required_settings_are_named(tool):
    (key,) = START[tool]
    with pytest.raises(UserError, match=rf"{key}=\.\.\."):
        validate(tool, {})


def test_a_learner_is_required_and_all_are_named():
    with pytest.raises(UserError, match=r"method=\.\.\."):
        validate("pretrain", {})
    with pytest.raises(UserError, match=r"byol \| simclr \| moco_v2"):
        validate("pretrain", {"method": {}})


@pytest.mark.parametrize("tool", ["finetune", "linear_eval", "population_stats", "diagnose"])
def test_several_processes_are_for_pretraining(monkeypatch, tool):
    for name, value in TWO.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"one process, and 2 were started; start it with python"):
        accept(tool, "")


@pytest.mark.parametrize("tool", MODELS)
def test_defaults_pass(tool):
    accept(tool, "")


def test_a_joint_batch_of_the_toy_is_whole():
    assert accept("toy", "labels_per_class=4 ubn.ratio=4.0").unlabelled_per_step == 32
    assert accept("toy", "labels_per_class=1 ubn.ratio=1.5").unlabelled_per_step == 3
