from dataclasses import asdict, fields

import pytest

from ssl_norm.config import (
    ByolConfig,
    DataConfig,
    DataOverride,
    EncoderConfig,
    EncoderOverride,
    NormConfig,
    PretrainConfig,
)
from ssl_norm.errors import UserError
from ssl_norm.evaluate.subject import find_subject
from ssl_norm.norms import parse_norm
from ssl_norm.settings.compose import compose_settings

SAVED = PretrainConfig(
    method=ByolConfig(),
    data=DataConfig(name="folder", root="/old", image_size=96, limit=500, test_fraction=0.3),
    encoder=EncoderConfig(name="resnet18", small_images=True, pretrained_path="/weights.pt"),
    norm=NormConfig(encoder={"name": "gn", "groups": 8}),
    seed=5,
).model_dump(mode="json")


def typed(*overrides):
    """Compose the real configuration of the tool, as the command line does."""
    return compose_settings("linear_eval", "checkpoint=last.pt", *overrides)


def test_the_checkpoint_says_everything():
    subject = find_subject(typed(), SAVED)
    assert subject.encoder.name == "resnet18"
    assert subject.encoder.small_images is True
    assert subject.norm == parse_norm({"name": "gn", "groups": 8})
    assert subject.data == DataConfig(name="folder", root="/old", image_size=96, test_fraction=0.3)
    assert subject.mean == tuple(SAVED["augment"]["mean"])
    assert subject.trained_size == 96
    assert subject.seed == 5


def test_a_moved_folder_needs_its_root_only():
    subject = find_subject(typed("data.root=/new"), SAVED)
    assert subject.data == DataConfig(name="folder", root="/new", image_size=96, test_fraction=0.3)


def test_the_same_source_keeps_what_is_not_given():
    subject = find_subject(typed("data.name=folder", "data.root=/new"), SAVED)
    assert subject.data.test_fraction == 0.3


def test_other_data_keep_the_size_of_a_view_only():
    subject = find_subject(typed("data=digits"), SAVED)
    assert subject.data == DataConfig(name="digits", image_size=96)


def test_another_size_leaves_the_encoder_as_trained():
    subject = find_subject(typed("data.image_size=64"), SAVED)
    assert subject.data.image_size == 64
    assert subject.trained_size == 96


def test_the_user_overrides_encoder_norm_and_pixels():
    subject = find_subject(
        typed("encoder.name=resnet50", "norm.encoder=gn+ws", "augment.mean=[0.1,0.2,0.3]"), SAVED
    )
    assert subject.encoder.name == "resnet50"
    assert subject.encoder.small_images is True
    assert subject.norm == "gn+ws"
    assert subject.mean == (0.1, 0.2, 0.3)


def test_foreign_weights_need_an_encoder_and_data():
    with pytest.raises(UserError, match=r"does not say which encoder it holds; add encoder.name="):
        find_subject(typed("data=digits"), None)
    with pytest.raises(UserError, match="does not say which data to evaluate on; add data="):
        find_subject(typed("encoder.name=resnet18"), None)


def test_foreign_weights_keep_their_own_norms_and_the_usual_pixels():
    subject = find_subject(typed("encoder=tiny", "data=digits", "seed=3"), None)
    assert subject.norm is None
    assert subject.encoder == EncoderConfig("tiny")
    assert subject.mean == (0.485, 0.456, 0.406)
    assert subject.data == DataConfig()
    assert subject.trained_size == 16
    assert subject.seed == 3


def test_a_colour_without_its_mean():
    with pytest.raises(UserError, match=r"augment.mean: three values expected"):
        find_subject(typed("augment.mean=[0.5,0.5]"), SAVED)


def test_checkpoints_of_other_versions_may_know_more_or_less():
    saved = {**SAVED, "data": {"name": "digits", "colour_space": "lab"}}
    assert find_subject(typed(), saved).data == DataConfig()


def test_overrides_have_the_keys_of_what_they_override():
    names = {f.name for f in fields(DataConfig)}
    assert {f.name for f in fields(DataOverride)} == names - {"limit", "resident"}
    assert {f.name for f in fields(EncoderOverride)} < {f.name for f in fields(EncoderConfig)}
    assert all(value is None for value in asdict(DataOverride()).values())
