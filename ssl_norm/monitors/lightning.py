"""Lightning callback that monitors collapse in any LightningModule.

It needs `lightning.pytorch` or `pytorch_lightning`; no other module of this package does.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ssl_norm.monitors.collapse_monitor import CollapseMonitor
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.monitors.watch import CollapseWatch
from ssl_norm.names import at_least
from ssl_norm.registry import load_object

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_DRAW = "ssl_norm.figures.layers:layer_pixels"


def _callback_class() -> type:
    """Return the `Callback` of an imported or else installed Lightning, or object without one."""
    imported = [name for name in _PACKAGES if name in sys.modules]
    for name in (*imported, *_PACKAGES):
        try:
            found: type = import_module(name).Callback
        except ModuleNotFoundError:
            continue
        return found
    return object


if TYPE_CHECKING:
    Callback = object
else:
    Callback = _callback_class()


class CollapseCallback(Callback):
    """Monitor the training of a LightningModule for collapse, without changing it.

    A :class:`ssl_norm.monitors.watch.CollapseWatch` measures the outputs of its projectors in each
    training step, gathered over processes, before the optimizer steps. Every `log_every` steps the
    measurements are logged as `collapse/negative_cosine`, ..., and the verdict as a number
    `collapse/verdict`. The last of several accumulated batches counts; under manual optimization,
    only calls before the optimizer's first step count. A batch counts as one step even if several
    optimizers step after it.

    Args:
        online: name of the projector, as `model.head`; None: search for a usual name.
        target: name of the EMA projector; None: search for a usual name; `none`: ignore it.
        log_every: steps between logged values and verdicts. It must be a multiple of the trainer's
            `log_every_n_steps`, or the logger skips values; None: equal to it.
        on_collapse: `warn`, `stop` (ends training at complete collapse, and warns) or `ignore`.
        options: other options of CollapseWatch: `joint`, `layers`, `layers_every`, `monitor`. With
            `layers=True` and a TensorBoardLogger the image `collapse/layers` is logged after each
            epoch.

    Raises:
        ValueError: no projector was found at the start of training, or the first step did not call
            it.

    Example:
        trainer = Trainer(callbacks=[CollapseCallback(on_collapse="stop")])
    """

    def __init__(
        self,
        online: str | None = None,
        target: str | None = None,
        *,
        log_every: int | None = None,
        on_collapse: str = "warn",
        **options: Any,
    ) -> None:
        if Callback is object:
            install = "pip install lightning, or pytorch-lightning"
            raise ImportError(f"CollapseCallback needs Lightning: {install}")
        super().__init__()
        options |= {"online": online, "target": target, "on_collapse": on_collapse}
        self._watch = CollapseWatch(**options)
        self._names = (online, target)
        self._log_every = None if log_every is None else at_least(1, log_every=log_every)
        self._loss: Tensor | None = None
        self._drawn = 0
        self._stepped = False
        self._missed = False

    @property
    def monitor(self) -> CollapseMonitor:
        """The monitor, with verdict, evidence and `collapsed_at_step`."""
        return self._watch.monitor

    @property
    def layer_rows(self) -> list[LayerRow]:
        """Measurements of layers so far."""
        return self._watch.layer_rows

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint; two callbacks may monitor two projectors."""
        return f"CollapseCallback{self._names}"

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach hooks to the projectors."""
        self._watch.steps = self._watch.steps or trainer.global_step
        self._watch.attach(pl_module)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Drop the previous batch, and start to record."""
        self._watch.start()
        self._loss, self._stepped = None, False

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Keep the loss for the evidence, unless a loss scaler has scaled it."""
        is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        accumulated = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
        self._loss = None if is_scaled else loss.detach().mean() * accumulated

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Measure the outputs of the projectors; every `log_every` steps judge and log."""
        self._missed = not self._stepped and not self._watch.has_calls
        if self._stepped or self._missed:  # a further optimizer of the same batch; or too early
            return
        self._stepped = True
        self._watch.step(self._loss)
        self._watch.pause()
        if self._watch.steps % (self._log_every or trainer.log_every_n_steps or 50) == 0:
            values = self._judge(trainer)
            pl_module.log_dict({f"collapse/{name}": value for name, value in values.items()})

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise ValueError if the optimizer stepped before any embeddings were seen."""
        if self._missed:
            self._watch.step()
        self._watch.pause()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log a figure of the layers."""
        self._draw_layers(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Judge the last steps, and draw the layers."""
        self._judge(trainer)
        self._draw_layers(trainer)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Remove the hooks."""
        self._watch.detach()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Remove the hooks."""
        self._watch.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that training needs to resume exactly, as plain values and tensors."""
        return self._watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        self._watch.load_state_dict(state_dict)

    def _judge(self, trainer: Any) -> dict[str, float]:
        """Return the values to log, and end the training at a collapse with `on_collapse=stop`."""
        values = self._watch.judge()
        trainer.should_stop |= self._watch.should_stop
        return values

    def _draw_layers(self, trainer: Any) -> None:
        boards = [
            logger
            for logger in trainer.loggers
            if any(kind.__name__ == "TensorBoardLogger" for kind in type(logger).__mro__)
        ]
        if not boards or len(self.layer_rows) == self._drawn or not trainer.is_global_zero:
            return
        self._drawn = len(self.layer_rows)
        picture = load_object(_DRAW)(self.layer_rows)
        for board in boards:
            board.experiment.add_image(
                "collapse/layers", picture, self._watch.steps, dataformats="HWC"
            )
