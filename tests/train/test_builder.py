import pytest
import torch

from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.settings.pretrain import (
    MonitorSettings,
    NormSettings,
    PretrainOptimizer,
    PretrainSettings,
)
from ssl_norm.settings.sections import EncoderSettings
from ssl_norm.train.builder import initial_encoder, make_encoder
from ssl_norm.train.pretrain_builder import make_training

IMAGES = ImageSet(torch.arange(40, dtype=torch.uint8)[:, None, None, None].repeat(1, 16, 16, 3))


def training(checkpoint=None, norm=(), optimizer=(), **settings):
    config = PretrainSettings(
        method="byol",
        encoder=EncoderSettings(name="tiny16"),
        norm=NormSettings(**dict(norm)),
        optimizer=PretrainOptimizer(**dict(optimizer)),
        **{"epochs": 5, "batch_size": 8, **settings},
    )
    encoder, _ = initial_encoder(config)
    return make_training(config, encoder, IMAGES, torch.device("cpu"), checkpoint)


@pytest.mark.parametrize(("epochs", "step"), [(0, 25), (2, 15), (5, 0)])
def test_statistics_freeze_at_the_begin_of_the_last_epochs(epochs, step):
    run = training(norm={"freeze_last_epochs": epochs})
    assert (run.frozen_from, run.steps) == (step, 25)


def test_freezing_without_batch_norms_ends_before_the_first_step():
    norms = {"encoder": "ln", "projector": "ln", "predictor": "none"}
    with pytest.raises(UserError, match=r"norm.freeze_last_epochs: BYOL has no batch norm to free"):
        training(norm={**norms, "freeze_last_epochs": 1})
    assert training(norm=norms).frozen_from == 25


def test_a_short_run_is_the_beginning_of_a_long_schedule():
    short, long = training(optimizer={"schedule_epochs": 20}), training(epochs=20)
    assert (short.steps, short.schedule_steps, long.steps) == (25, 100, 100)
    for step in range(25):
        assert short.learning_rate(step) == long.learning_rate(step)


def test_epochs_of_the_settings_become_steps():
    run = training(optimizer={"warmup_epochs": 2}, checkpoint_every=3)
    rates = [run.learning_rate(step) for step in range(run.steps)]
    assert (rates.index(max(rates)), run.save_every) == (10, 15)


def test_the_monitor_has_the_options_of_the_settings():
    options = {"patience": 7, "spectral_every": 3, "complete_cosine": 0.95}
    monitor = training(monitor=MonitorSettings(**options)).monitor
    assert (monitor.patience, monitor.spectral_every) == (7, 3)
    assert monitor.thresholds.complete_cosine == 0.95


def test_accumulated_batches_have_the_rate_of_one_large_batch():
    whole, parts = training(batch_size=16), training(accumulate=2)
    rates = [[run.learning_rate(step) for step in range(run.steps)] for run in (whole, parts)]
    assert rates[0] == rates[1]
    assert max(rates[0]) == PretrainOptimizer().lr * 16 / 256


def test_a_resumed_run_goes_on_with_the_batch_after_its_last_step():
    whole = training(accumulate=2)
    batches = list(whole.batches)
    resumed = list(training(accumulate=2, checkpoint={"step": 3, **whole.state()}).batches)
    assert len(resumed) == len(batches) - 6
    assert all(map(torch.equal, resumed, batches[6:]))


@pytest.mark.parametrize("view_statistics", ["separate", "joint"])
def test_the_learner_has_the_statistics_of_views_that_are_asked_for(view_statistics):
    learner = training(norm={"view_statistics": view_statistics}).network
    assert learner.view_statistics == view_statistics


def test_without_training_there_is_an_epoch_of_batches_and_no_step():
    run = training(train=False)
    assert (run.steps, len(list(run.batches))) == (0, 5)


def test_encoder_with_maps_of_one_position_is_refused_before_the_data_passes():
    with pytest.raises(
        UserError, match=r"norm.encoder: .*\(2, 512, 1, 1\) has one value per channel"
    ):
        make_encoder("resnet10t", False, "in", 32, 0)


def test_trying_the_encoder_leaves_it_in_training_and_its_statistics_alone():
    encoder, _ = make_encoder("tiny16", None, "rbn", 32, 0)
    assert all(part.training for part in encoder.modules())
    assert encoder.stem_bn.num_batches_tracked == 0
