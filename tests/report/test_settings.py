from ssl_norm.report.read import RunRecord
from ssl_norm.report.settings import (
    differing_keys,
    flatten,
    is_compared,
    settings_of,
    telling_keys,
)
from tests.report.run_folders import config_of


def flat(**changes):
    return flatten(config_of(**changes))


def test_a_norm_is_one_value_and_so_is_a_list():
    settings = flat(heads={"name": "gn+ws", "groups": 16}, norm__view_statistics="joint")
    assert settings["norm.projector"] == "gn+ws(groups=16)"
    assert settings["norm.view_statistics"] == "joint"
    assert settings["optimizer.betas"] == "[0.9, 0.999]"
    assert settings["data.limit"] == "null"
    assert settings["method.projector.norm_output"] == "false"


def test_a_norm_that_this_version_does_not_know_stays_as_it_is():
    assert flat(heads={"name": "from_elsewhere"})["norm.projector"] == '{"name": "from_elsewhere"}'


def test_seed_and_paths_are_not_compared():
    assert not any(
        map(is_compared, ("seed", "run_dir", "data.root", "data.workers", "monitor.log_every"))
    )
    assert not any(map(is_compared, ("log_every", "evaluation.every")))
    assert all(map(is_compared, ("labels_per_class", "evaluation.samples", "ubn.ratio")))
    assert all(map(is_compared, ("epochs", "data.limit", "norm.encoder", "method.name")))


def test_subject_first_and_keys_that_some_lack_do_not_differ_by_that():
    runs = [
        flat(),
        flat(method="moco_v2", method__queue_size=64, augment__view1__blur=0.5),
        flat(optimizer__lr=0.1, augment__view1__blur=0.1),
    ]
    assert differing_keys(runs) == ["method.name", "optimizer.lr", "augment.view1.blur"]


def test_telling_keys_are_no_more_than_needed():
    heads = [flat(heads=heads, seed=seed) for heads in ("bn", "none") for seed in (0, 1)]
    assert telling_keys(heads) == ["norm.projector", "norm.predictor"]
    assert telling_keys(heads[:1] * 2) == []
    methods = [flat(), flat(method="moco_v2", optimizer__lr=0.1, epochs=9)]
    assert telling_keys(methods) == ["method.name"]
    assert telling_keys([*methods, flat(method="moco_v2", optimizer__lr=0.2, epochs=9)]) == [
        "method.name",
        "optimizer.lr",
    ]


def test_arms_of_a_study_tell_its_runs_apart(tmp_path):
    def run(study, arm, **changes):
        record = RunRecord(
            tmp_path, "x", config=config_of(**changes), summary={"study": study, "arm": arm}
        )
        return settings_of(record)

    arms = [run("s", "byol"), run("s", "ln", heads="ln"), run("s", "ln", heads="ln", seed=1)]
    assert telling_keys(arms) == ["arm"]
    assert telling_keys([*arms, run("t", "byol")]) == ["study", "arm"]
    longer = run("s", "ln", heads="ln", seed=2, epochs=9)  # no other run of its arm and seed
    assert telling_keys([*arms, longer]) == ["arm"]
    assert telling_keys([*arms, longer, run("s", "ln", heads="ln", seed=2)]) == ["arm", "epochs"]
    assert telling_keys([*arms, run(None, None)]) == ["norm.projector", "norm.predictor"]
