"""Loops of other libraries, watched by one line: Fabric, Accelerate, timm, and modules of
stable-pretraining and solo-learn in Lightning.
"""

import pytest
import torch
from torch import nn

from ssl_norm.monitors import CollapseCallback
from ssl_norm.monitors.watch import attach
from tests.monitors.samples import streamed, streamed_means
from tests.monitors.test_watch import Network, byol, optimizer_of, train


def with_fabric():
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    network = Network()
    model, optimizer = fabric.setup(network, optimizer_of(network))
    model.mark_forward_method("embed")
    return model, optimizer, fabric.backward


def with_accelerate():
    accelerator = pytest.importorskip("accelerate").Accelerator(cpu=True)
    network = Network()
    model, optimizer = accelerator.prepare(network, optimizer_of(network))
    return model, optimizer, accelerator.backward


@pytest.mark.parametrize("library", [with_fabric, with_accelerate])
def test_values_are_those_of_the_embeddings(library):
    model, optimizer, backward = library()
    logged = []
    options = {"log": lambda values, step: logged.append(values), "log_every": 1, "joint": False}
    watch = attach(model, optimizer, **options)
    recorded = train(model, optimizer, byol, backward=backward)
    assert watch.steps == len(recorded)
    for values, pairs in zip(logged, recorded, strict=True):
        assert streamed(values) == pytest.approx(streamed_means([pairs]), abs=1e-6)


@pytest.mark.parametrize("form", ["called twice", "called once"])
def test_a_simclr_loop_on_an_encoder_of_timm(form):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    size = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, **size)
    network = nn.ModuleDict({"encoder": encoder, "projector": nn.Linear(24, 8)})
    optimizer, logged = optimizer_of(network), []
    attach(network, optimizer, log=lambda values, step: logged.append(values), log_every=1)

    def simclr(network, step):
        images = torch.randn(64, 3, 1, 1).expand(-1, -1, 16, 16)
        views = [images + 0.1 * torch.randn_like(images) for _ in range(2)]
        calls = [torch.cat(views)] if form == "called once" else views
        z1, z2 = torch.cat([network["projector"](encoder(call)) for call in calls]).chunk(2)
        return (z1 - z2).square().mean(), [(z1, z2)]

    recorded = train(network, optimizer, simclr)
    known = [step for step, values in enumerate(logged) if "positive_cosine" in values]
    assert len(known) >= 3
    for step in known:
        expected = streamed_means([recorded[step]])
        assert streamed(logged[step]) == pytest.approx(expected, abs=1e-5)


def encoder_and_head():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 32)), nn.Linear(32, 8)


def simclr_of_stable_pretraining(spt):
    encoder, head = encoder_and_head()
    options = {"backbone": encoder, "projector": head, "simclr_loss": spt.losses.NTXEntLoss()}
    return {"forward": spt.forward.simclr, **options}, [head], ((0, 1),)


def byol_of_stable_pretraining(spt):
    encoder, head = (spt.TeacherStudentWrapper(part) for part in encoder_and_head())
    options = {"backbone": encoder, "projector": head, "predictor": nn.Linear(8, 8)}
    options |= {"forward": spt.forward.byol, "byol_loss": spt.losses.BYOLLoss()}
    return options, [head.student, head.teacher], ((0, 3), (1, 2))


def fit(module, batches, heads, pairs, *callbacks):
    """Train with the callback; its values must be those of the recorded outputs of the heads."""
    lightning = pytest.importorskip("lightning.pytorch")
    rows, calls = [], [[] for _ in heads]
    for kept, head in zip(calls, heads, strict=True):
        head.register_forward_hook(lambda *step, kept=kept: kept.append(step[-1].detach().clone()))

    class Logged(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            found = trainer.callback_metrics.items()
            row = {k[9:]: float(v) for k, v in found if k.startswith("collapse/")}
            flat = [z for kept in calls for z in kept]
            rows.append((row, [(flat[first], flat[second]) for first, second in pairs]))
            for kept in calls:
                kept.clear()

    settings = {"logger": False, "enable_checkpointing": False, "log_every_n_steps": 1}
    settings |= {"enable_progress_bar": False, "enable_model_summary": False}
    watched = [*callbacks, CollapseCallback(), Logged()]
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=1, callbacks=watched, **settings)
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    known = [(row, pair) for row, pair in rows if "positive_cosine" in row]
    assert len(rows) == len(batches)
    assert len(known) >= len(batches) - 3
    for row, pair in known:
        assert streamed(row) == pytest.approx(streamed_means([pair]), abs=1e-5)


def two_views(shape, steps=6):
    images = [torch.randn(64, 3, 1, 1).expand(-1, *shape) for _ in range(steps)]
    return [[x + 0.1 * torch.randn_like(x) for _ in range(2)] for x in images]


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("method", [simclr_of_stable_pretraining, byol_of_stable_pretraining])
def test_modules_and_callbacks_of_stable_pretraining(method):
    spt = pytest.importorskip("stable_pretraining")
    pytest.importorskip("stable_pretraining.forward")
    torch.manual_seed(0)
    options, heads, pairs = method(spt)
    module = spt.Module(optim={"optimizer": {"type": "SGD", "lr": 0.05}}, **options)
    probe = {"input": "embedding", "target": "label", "probe": nn.Linear(32, 2)}
    probe["metrics"] = pytest.importorskip("torchmetrics").classification.MulticlassAccuracy(2)
    callbacks = [
        spt.callbacks.OnlineProbe(module, name="probe", loss=nn.CrossEntropyLoss(), **probe),
        spt.callbacks.RankMe(name="rank", target="embedding", queue_length=64, target_shape=32),
        *([spt.callbacks.TeacherStudentCallback()] if len(heads) == 2 else []),
    ]
    label = torch.randint(2, (64,))
    batches = [
        {"views": [{"image": view, "label": label} for view in views]}
        for views in two_views((3, 2, 2))
    ]
    fit(module, batches, heads, pairs, *callbacks)


@pytest.mark.filterwarnings("ignore")
def test_byol_of_solo_learn():
    methods = pytest.importorskip("solo.methods")
    omegaconf = pytest.importorskip("omegaconf").OmegaConf
    torch.manual_seed(0)
    widths = {"proj_hidden_dim": 16, "proj_output_dim": 8, "pred_hidden_dim": 16}
    rate = {"lr": 0.05, "classifier_lr": 0.05, "weight_decay": 0.0}
    settings = {
        "method": "byol",
        "backbone": {"name": "resnet18"},
        "data": {"dataset": "custom", "num_classes": 6, "num_large_crops": 2, "num_small_crops": 0},
        "optimizer": {"name": "sgd", "batch_size": 64, **rate},
        "scheduler": {"name": "none"},
        "max_epochs": 1,
        "method_kwargs": widths,
        "momentum": {},
    }
    module = methods.BYOL(omegaconf.create(settings))
    rows = torch.arange(64)
    batches = [[rows, views, rows % 6] for views in two_views((3, 16, 16))]
    heads = [module.projector, module.momentum_projector]
    fit(module, batches, heads, ((0, 3), (1, 2)))
