import os

import pytest

from ssl_norm.errors import UserError
from ssl_norm.reporting.frame import (
    differing_keys,
    group_keys,
    group_runs,
    is_compared,
    telling_keys,
    without_repeats,
)
from ssl_norm.reporting.read import RunRecord
from tests.reporting.run_folders import (
    config_of,
    groups_in,
    runs_in,
    write_few_labels,
    write_run,
    write_study,
)


def record(study=None, arm=None, **changes):
    summary = {"study": study, "arm": arm}
    return RunRecord("x", "x", config=config_of(**changes), summary=summary)


def texts(*place, **changes):
    return record(*place, **changes).texts


def test_a_norm_is_one_value_and_so_is_a_list():
    settings = texts(heads={"name": "gn+ws", "groups": 16}, norm__view_statistics="joint")
    assert settings["norm.projector"] == "gn+ws(groups=16)"
    assert settings["norm.view_statistics"] == "joint"
    assert settings["optimizer.betas"] == "[0.9, 0.999]"
    assert settings["data.limit"] == "null"
    assert settings["method.projector.norm_output"] == "false"
    unknown = texts(heads={"name": "from_elsewhere"})["norm.projector"]
    assert unknown == "{name: from_elsewhere}"


def test_seed_and_paths_are_not_compared():
    never = ("seed", "run_dir", "data.root", "data.workers", "monitor.log_every", "log_every",
             "evaluation.every")  # fmt: skip
    always = ("labels_per_class", "evaluation.samples", "ubn.ratio", "epochs", "data.limit",
              "norm.encoder", "method.name")  # fmt: skip
    assert not any(map(is_compared, never))
    assert all(map(is_compared, always))


def test_the_subject_is_first_and_keys_that_some_runs_lack_do_not_differ():
    runs = [
        texts(),
        texts(method="moco_v2", method__queue_size=64, augment__view1__blur=0.5),
        texts(optimizer__lr=0.1, augment__view1__blur=0.1),
    ]
    assert differing_keys(runs) == ["method.name", "optimizer.lr", "augment.view1.blur"]


def test_telling_keys_are_no_more_than_needed():
    heads = [texts(heads=heads, seed=seed) for heads in ("bn", "none") for seed in (0, 1)]
    assert telling_keys(heads) == ["norm.projector", "norm.predictor"]
    assert telling_keys(heads[:1] * 2) == []
    methods = [texts(), texts(method="moco_v2", optimizer__lr=0.1, epochs=9)]
    assert telling_keys(methods) == ["method.name"]
    third = texts(method="moco_v2", optimizer__lr=0.2, epochs=9)
    assert telling_keys([*methods, third]) == ["method.name", "optimizer.lr"]


def test_arms_of_a_study_distinguish_its_runs():
    arms = [
        texts("s", "byol"), texts("s", "ln", heads="ln"), texts("s", "ln", heads="ln", seed=1),
    ]  # fmt: skip
    assert telling_keys(arms) == ["arm"]
    assert telling_keys([*arms, texts("t", "byol")]) == ["study", "arm"]
    longer = texts("s", "ln", heads="ln", seed=2, epochs=9)  # no other run of its arm and seed
    assert telling_keys([*arms, longer]) == ["arm"]
    shorter = texts("s", "ln", heads="ln", seed=2)
    assert telling_keys([*arms, longer, shorter]) == ["arm", "epochs"]
    assert telling_keys([*arms, texts()]) == ["norm.projector", "norm.predictor"]


def test_groups_are_over_seeds_in_order_of_folders(tmp_path):
    bn, none = groups_in(write_study(tmp_path / "study", seeds=(2, 0, 1)))
    assert (bn.values, none.values) == (("bn", "bn"), ("none", "none"))
    assert (bn.label, none.label) == ("heads bn/bn", "heads none/none")
    assert bn.seeds == none.seeds == ["0", "1", "2"]
    for seed in (0, 1):
        write_run(tmp_path / "same" / str(seed), config_of(seed=seed))
    (group,) = groups_in(tmp_path / "same")
    assert (group.values, group.label, len(group.runs)) == ((), "byol bn/bn", 2)


def test_keys_of_the_user_and_of_a_grid(tmp_path):
    runs = runs_in(write_study(tmp_path / "study"))
    assert len(group_runs(runs, group_keys(runs, ["seed"]))) == 3
    with pytest.raises(UserError, match=r"key in group_by 'norm.projektor'.*'norm.projector'"):
        group_keys(runs, ["norm.projektor"])
    runs = runs_in(write_few_labels(tmp_path / "grid"))
    keys = group_keys(runs, None, ["labels_per_class", "optimizer.lr"])
    assert keys == ["arm", "labels_per_class"]
    assert group_runs(runs, keys)[0].label == "bn, 10 labels a class"


def test_the_newest_of_repeated_runs_counts(tmp_path):
    for name, date in (("new", 2000), ("old", 1000)):
        folder = write_run(tmp_path / name)
        for file in folder.iterdir():
            os.utime(file, (date, date))
    write_run(tmp_path / "other_seed", config_of(seed=1))
    kept, repeats = without_repeats(runs_in(tmp_path))
    assert [run.name for run in kept] == ["new", "other_seed"]
    assert [run.name for run in repeats] == ["old"]
