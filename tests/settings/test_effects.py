"""Settings without effect: each given one is reported, or refused if it is a path."""

import pytest

from ssl_norm.cli.entry import main
from ssl_norm.errors import UserError
from ssl_norm.option_errors import find_field
from ssl_norm.settings.models import MODELS, check_effects, without_effect
from tests.settings.refusals import SETTING, accept
from tests.settings.test_ranges import SETTINGS

# By tool: settings without effect, and below them a setting with which they have an effect.
WITHOUT = {
    ("pretrain", "augment.view1.jitter=0"): (
        "augment.view1.brightness=0.3 augment.view1.contrast=0.3 augment.view1.saturation=0.3 "
        "augment.view1.hue=0.2",
        "augment.view1.jitter=0.1",
    ),
    ("pretrain", "augment.view2.blur=0 augment.view2.solarize=0"): (
        "augment.view2.blur_sigma=[1,2] augment.view2.solarize_threshold=0.3",
        "augment.view2.blur=0.1 augment.view2.solarize=0.1",
    ),
    ("pretrain", "optimizer.name=adamw"): ("optimizer.momentum=0.5", "optimizer.name=sgd"),
    ("pretrain", ""): (
        "optimizer.lars_eta=0.1 optimizer.betas=[0.5,0.5] encoder.small_images=true "
        "data.on_corrupt=skip data.download=false data.cache_size=32",
        "",
    ),
    ("pretrain", "train=false"): (
        "epochs=3 optimizer.lr=3 keep_every=2 checkpoint_every=2 norm.freeze_last_epochs=1",
        "train=true",
    ),
    ("pretrain", "optimizer.weight_decay=0"): (
        "optimizer.exclude_norm_and_bias=true",
        "optimizer.name=lars",
    ),
    ("pretrain", "linear_probe=false loggers=[]"): (
        "probe_labels=0.5 monitor.embeddings=3",
        "linear_probe=true loggers=[tensorboard]",
    ),
    ("pretrain", "norm.encoder=gn norm.projector=ln norm.predictor=ln"): (
        "norm.view_statistics=joint norm.freeze_last_epochs=1",
        "norm.projector=bn",
    ),
    ("pretrain", "method.predictor.layers=1 method.projector.layers=0"): (
        "method.predictor.hidden_dim=3 method.projector.hidden_dim=3 norm.predictor=ln",
        "method.predictor.layers=2 method.projector.layers=2",
    ),
    ("doctor", ""): (
        "loggers=[] monitor.patience=3 monitor.layers_every=0 linear_probe=false probe_labels=0.5 "
        "checkpoint_every=2 keep_every=2 norm.freeze_last_epochs=1",
        "",
    ),
    ("doctor", "target=a:b"): ("epochs=3 optimizer.lr=3 check_steps=5", "target=null"),
    ("finetune", ""): (
        "ubn.ratio=3 ubn.gradient=false evaluation.adapt_samples=[3]",
        "norm.encoder=ubn evaluation.corruptions=[contrast]",
    ),
    ("finetune", "evaluation.statistics=[batch]"): (
        "evaluation.samples=[5] evaluation.batch_sizes=[5]",
        "evaluation.statistics=[exact]",
    ),
    ("finetune", "norm.encoder=gn"): (
        "norm.freeze_last=0.5 evaluation.statistics=[batch]",
        "norm.encoder=bn",
    ),
    ("linear_eval", "data.name=digits"): ("sgd.lr=3 data.on_corrupt=skip", ""),
    ("toy", "toy=digits"): ("noise=0.2", "toy=two_moons"),
    ("population_stats", "protocol=sgd data.name=folder"): ("", "sgd.lr=3 data.on_corrupt=skip"),
}


def keys(typed: str) -> list[str]:
    return [setting.partition("=")[0] for setting in SETTING.findall(typed)]


def silent(tool: str, typed: str, given: str) -> list[str]:
    """Return the given keys that have no effect."""
    found = without_effect(accept(tool, typed), keys(given))
    return [key.partition("=")[0] for key, _, _ in found]


@pytest.mark.parametrize(("tool", "start"), WITHOUT)
def test_settings_without_effect_are_found_and_no_others(tool, start):
    typed, partner = WITHOUT[tool, start]
    assert silent(tool, f"{start} {typed}", f"{start} {typed}") == keys(typed)
    if partner:
        assert silent(tool, f"{start} {typed} {partner}", f"{typed} {partner}") == []


def test_defaults_are_never_reported():
    for tool, fields in SETTINGS.items():
        if tool in ("pretrain", "finetune", "toy"):
            assert list(without_effect(accept(tool, ""), fields)) == []


def test_every_condition_names_a_setting():
    for tool, fields in SETTINGS.items():
        for key, field in fields.items():
            condition = (field.json_schema_extra or {}).get("only_with")
            if condition and tool in MODELS:
                partner = condition.partition("=")[0].partition(">")[0].split(".")
                section = key.split(".")[:-1]
                places = ([*section, *partner], partner)
                assert any(find_field(MODELS[tool], place)[1] for place in places), key


@pytest.mark.parametrize("key", ["data.root", "data.cache_dir"])
def test_a_path_that_nothing_reads_is_refused(key):
    settings = accept("pretrain", f"{key}=x")
    with pytest.raises(UserError, match=f"{key}=x has no effect: data=digits does not read it"):
        check_effects(settings, [key])
    check_effects(accept("pretrain", f"{key}=x data.name=folder"), [key])


def test_a_check_writes_no_run_folder():
    with pytest.raises(UserError, match="run_dir=x has no effect: the steps of a check are undone"):
        check_effects(accept("doctor", "run_dir=x"), ["run_dir"])


def test_a_command_names_what_it_was_given(monkeypatch, capsys):
    typed = ["optimizer.lars_eta=0.1", "monitor={patience:9}", "data.root=x"]
    monkeypatch.setattr("sys.argv", ["pretrain.py", *typed])
    with pytest.raises(SystemExit):
        main("pretrain")
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("note: optimizer.lars_eta=0.1 has no effect: it needs name=lars")
    assert error.startswith("error: data.root=x has no effect")
