"""The callback with modules of lightly, combined as in its examples for Lightning."""

import copy
import sys
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("lightly")
lightning = pytest.importorskip("pytorch_lightning")

from lightly.loss import NegativeCosineSimilarity, NTXentLoss  # noqa: E402
from lightly.models.modules import (  # noqa: E402
    BYOLPredictionHead,
    BYOLProjectionHead,
    MoCoProjectionHead,
    SimCLRProjectionHead,
)
from lightly.models.utils import deactivate_requires_grad, update_momentum  # noqa: E402

from ssl_norm.monitors import CollapseCallback, CollapseMonitor  # noqa: E402
from tests.monitors.samples import streamed, streamed_means  # noqa: E402

BATCH, STEPS = 64, 6


class Example(lightning.LightningModule):
    """Encoder, SGD, and a record of embeddings and losses by step."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.pairs, self.losses = [], []

    def configure_optimizers(self):
        return torch.optim.SGD((p for p in self.parameters() if p.requires_grad), lr=0.05)

    def training_step(self, batch, batch_idx):
        loss, pairs = self.loss(*batch)
        self.pairs.append([tuple(z.detach().clone() for z in pair) for pair in pairs])
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx):
        self.loss(*batch)


class WithMomentum(Example):
    def __init__(self, projection_head):
        super().__init__()
        self.projection_head = projection_head
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def project(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def project_momentum(self, x):
        features = self.backbone_momentum(x).flatten(start_dim=1)
        return self.projection_head_momentum(features).detach()

    def training_step(self, batch, batch_idx):
        update_momentum(self.backbone, self.backbone_momentum, m=0.9)
        update_momentum(self.projection_head, self.projection_head_momentum, m=0.9)
        return super().training_step(batch, batch_idx)


class BYOL(WithMomentum):
    def __init__(self, collapsed=False):
        super().__init__(BYOLProjectionHead(8, 16, 8))
        self.prediction_head = BYOLPredictionHead(8, 16, 8)
        self.criterion = NegativeCosineSimilarity()
        if collapsed:
            for head in (self.projection_head, self.projection_head_momentum):
                nn.init.zeros_(head.layers[-1].weight)
                deactivate_requires_grad(head)

    def loss(self, x0, x1):
        z0, t0 = self.project(x0), self.project_momentum(x0)
        z1, t1 = self.project(x1), self.project_momentum(x1)
        p0, p1 = self.prediction_head(z0), self.prediction_head(z1)
        loss = 0.5 * (self.criterion(p0, t1) + self.criterion(p1, t0))
        return loss, [(z0, t1), (z1, t0)]


class MoCo(WithMomentum):
    def __init__(self):
        super().__init__(MoCoProjectionHead(8, 16, 8))
        self.criterion = NTXentLoss(memory_bank_size=(16, 8))

    def loss(self, x_query, x_key):
        query, key = self.project(x_query), self.project_momentum(x_key)
        return self.criterion(query, key), [(query, key)]


class SimCLR(Example):
    def __init__(self, joint=False):
        super().__init__()
        self.projection_head = SimCLRProjectionHead(8, 16, 8)
        self.criterion = NTXentLoss()
        self.joint = joint

    def project(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def loss(self, x0, x1):
        if self.joint:
            z0, z1 = self.project(torch.cat([x0, x1])).chunk(2)
        else:
            z0, z1 = self.project(x0), self.project(x1)
        return self.criterion(z0, z1), [(z0, z1)]


class ByHand(BYOL):
    """Manual optimization with two optimizers, each stepping once a batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        heads = [*self.projection_head.parameters(), *self.prediction_head.parameters()]
        return [torch.optim.SGD(p, lr=0.05) for p in (self.backbone.parameters(), heads)]

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        optimizers = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()


def batches(count=STEPS, size=BATCH):
    generator = torch.Generator().manual_seed(0)
    colours = [torch.randn(1, size, 3, 1, 1, generator=generator) for _ in range(count)]
    return [x + 0.1 * torch.randn(2, size, 3, 8, 8, generator=generator) for x in colours]


def loader(data):
    return DataLoader(data, batch_size=None)


def trainer(folder, *callbacks, steps=STEPS, **options):
    settings = {"logger": False, "enable_checkpointing": False, "log_every_n_steps": 1, **options}
    return lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def fit(run, model, data, **options):
    with warnings.catch_warnings():
        # Warnings of Lightning about the set-up, such as one worker; those of the callback stay
        # errors.
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        run.fit(model, loader(data), **options)
    return run


class Logged(lightning.Callback):
    """Records the arguments of `log_dict` for every batch."""

    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, *_):
        found = trainer.callback_metrics.items()
        self.rows.append({k[9:]: float(v) for k, v in found if k.startswith("collapse/")})


@pytest.mark.parametrize("model", [BYOL, MoCo, SimCLR, partial(SimCLR, joint=True), ByHand])
def test_values_are_those_of_the_embeddings(tmp_path, model):
    torch.manual_seed(0)
    network, logged = model(), Logged()
    callback = CollapseCallback(joint=getattr(network, "joint", False))
    steps = 2 * STEPS if model is ByHand else STEPS  # Lightning counts every optimizer's
    # validation is not looked at
    run = trainer(tmp_path, callback, logged, steps=steps, val_check_interval=1)
    fit(run, network, batches(), val_dataloaders=loader(batches(1)))
    assert len(network.pairs) == STEPS
    for row, pairs in zip(logged.rows, network.pairs, strict=True):
        assert streamed(row) == pytest.approx(streamed_means([pairs]), abs=1e-6)
        assert row["verdict"] in (0, 1)
        assert row["rank_me"] >= 1
    assert streamed(callback.monitor.collect()) == pytest.approx(streamed(logged.rows[-1]))
    assert not any(module._forward_hooks for module in network.modules())


def test_rarer_logs_are_means_over_the_steps_since_the_last(tmp_path):
    network, logged = BYOL(), Logged()
    fit(trainer(tmp_path, CollapseCallback(log_every=3, joint=False), logged), network, batches())
    assert [bool(row) for row in logged.rows] == [False, False, True, True, True, True]
    assert streamed(logged.rows[2]) == pytest.approx(streamed_means(network.pairs[:3]), abs=1e-6)
    assert streamed(logged.rows[5]) == pytest.approx(streamed_means(network.pairs[3:]), abs=1e-6)


def test_collapse_warns_and_stops(tmp_path):
    monitor = CollapseMonitor(patience=3, loss_at_collapse=-1.0)
    callback = CollapseCallback(on_collapse="stop", monitor=monitor)
    with pytest.warns(UserWarning, match="complete collapse since step 1: negative cosine 1.0000"):
        run = fit(trainer(tmp_path, callback), BYOL(collapsed=True), batches())
    assert (run.global_step, monitor.verdict) == (3, "complete")
    assert monitor.collapsed_at_step == 1


def test_collapse_can_be_ignored_and_is_found_at_the_end(tmp_path):
    ignoring = CollapseCallback(on_collapse="ignore", monitor=CollapseMonitor(patience=2))
    run = fit(trainer(tmp_path, ignoring, log_every_n_steps=50), BYOL(collapsed=True), batches())
    assert (run.global_step, ignoring.monitor.verdict) == (STEPS, "complete")
    warning = CollapseCallback(monitor=CollapseMonitor(patience=2))
    with pytest.warns(UserWarning, match="complete collapse since step 1"):
        fit(trainer(tmp_path, warning, log_every_n_steps=50), BYOL(collapsed=True), batches())


def test_of_accumulated_batches_the_last_counts(tmp_path):
    network, logged = BYOL(), Logged()
    monitor = CollapseMonitor(loss_at_collapse=-1.0)
    watched = (CollapseCallback(monitor=monitor, joint=False), logged)
    fit(trainer(tmp_path, *watched, steps=3, accumulate_grad_batches=2), network, batches())
    assert streamed(logged.rows[5]) == pytest.approx(streamed_means(network.pairs[5:]), abs=1e-6)
    assert monitor._means["loss"] == pytest.approx(network.losses[5], rel=1e-5)
    assert monitor._step == 3


def test_a_resumed_run_goes_on_exactly(tmp_path):
    def callback():
        monitor = CollapseMonitor(patience=2, spectral_every=2, buffer_size=20)
        return CollapseCallback(layers=True, layers_every=2, log_every=2, monitor=monitor)

    torch.manual_seed(0)
    start, whole, before, after = BYOL(), callback(), callback(), callback()
    first, second = copy.deepcopy(start), copy.deepcopy(start)
    epoch, path = batches(3), tmp_path / "at3.ckpt"
    fit(trainer(tmp_path, whole, steps=-1, max_epochs=2), start, epoch)
    interrupted = fit(trainer(tmp_path, before, steps=-1, max_epochs=1), first, epoch)
    interrupted.save_checkpoint(path)
    assert before.state_key in torch.load(path, weights_only=True)["callbacks"]
    resumed = trainer(tmp_path, after, steps=-1, max_epochs=2)
    fit(resumed, second, epoch, ckpt_path=path, weights_only=True)
    assert second.losses == start.losses[3:]
    assert repr(after.monitor.collect()) == repr(whole.monitor.collect())
    assert after.monitor.evidence == whole.monitor.evidence
    assert repr(after.layer_rows) == repr(whole.layer_rows)
    steps = [row.step for row in whole.layer_rows if row.layer == "projector.layers.0"]
    assert steps == [1, 2, 4, 6]


def test_layers_are_recorded_and_drawn(tmp_path):
    board = lightning.loggers.TensorBoardLogger(tmp_path)
    callback = CollapseCallback(layers=True, layers_every=3)
    fit(trainer(tmp_path, callback, logger=board), BYOL(), batches())
    names = {row.layer for row in callback.layer_rows}
    assert {"encoder.0", "encoder", "projector.layers.0", "predictor.layers.3"} <= names
    assert all(row.gradient_norm > 0 for row in callback.layer_rows)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert events.Tags()["images"] == ["collapse/layers"]
    assert "collapse/negative_cosine" in events.Tags()["scalars"]


def test_a_last_batch_of_one_image_is_named(tmp_path):
    callback = CollapseCallback()
    with pytest.warns(UserWarning, match="a batch of one image has no negative cosine"):
        fit(trainer(tmp_path, callback), MoCo(), [*batches(2), *batches(1, size=1)])
    assert len(callback.monitor.collect()) > 3


class Unusual(SimCLR):
    def __init__(self):
        super().__init__()
        self.g, self.unused = self.projection_head, nn.Linear(8, 4)
        del self.projection_head

    def project(self, x):
        return self.g(self.backbone(x).flatten(start_dim=1))


def test_a_projector_of_another_name_and_one_that_is_not_called(tmp_path):
    with pytest.raises(ValueError, match="the projector unused was not called"):
        fit(trainer(tmp_path, CollapseCallback("unused")), Unusual(), batches())
    network, logged = Unusual(), Logged()
    fit(trainer(tmp_path, CollapseCallback("g", joint=False), logged), network, batches())
    assert streamed(logged.rows[0]) == pytest.approx(streamed_means(network.pairs[:1]), abs=1e-6)


def test_without_lightning(monkeypatch):
    module = sys.modules[CollapseCallback.__module__]
    for name in module._PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    assert module._callback_class() is object
    monkeypatch.setattr(module, "Callback", object)
    with pytest.raises(ImportError, match="CollapseCallback needs Lightning: pip install"):
        CollapseCallback()
