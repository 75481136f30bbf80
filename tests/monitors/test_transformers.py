"""The callback in transformers' own Trainer."""

import warnings

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from ssl_norm.monitors import CollapseMonitor, CollapseTrainerCallback  # noqa: E402
from tests.monitors.test_watch import Network  # noqa: E402


class Model(nn.Module):
    def __init__(self, collapsed):
        super().__init__()
        self.network, self.collapsed = Network(), collapsed
        if collapsed:
            nn.init.zeros_(self.network.projector.weight)

    def forward(self, x1, x2, **_):
        z1, z2 = self.network.embed(x1, x2)[0]
        return {"loss": (z1 - z2).square().mean() * (not self.collapsed)}


@pytest.mark.parametrize("collapsed", [False, True])
def test_values_join_the_logs_and_a_collapse_stops(tmp_path, collapsed):
    torch.manual_seed(0)
    images = torch.randn(640, 12)
    data = [dict(zip(("x1", "x2"), x + 0.1 * torch.randn(2, 12), strict=True)) for x in images]
    options = {"on_collapse": "stop", "monitor": CollapseMonitor(patience=2), "target": "none"}
    callback = CollapseTrainerCallback(**options)
    arguments = transformers.TrainingArguments(
        tmp_path,
        per_device_train_batch_size=64,
        logging_steps=2,
        num_train_epochs=1,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        remove_unused_columns=False,
    )
    trainer = transformers.Trainer(Model(collapsed), arguments, train_dataset=data)
    trainer.add_callback(callback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert all("collapse/negative_cosine" in row for row in rows)
    assert (trainer.state.global_step < 10) == collapsed
    assert callback.watch.monitor.verdict == ("complete" if collapsed else "healthy")
    if not collapsed:
        assert rows[-1]["collapse/positive_cosine"] > 0.9
    assert not any(module._forward_hooks for module in trainer.model.modules())
