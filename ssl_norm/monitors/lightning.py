"""Lightning callback that monitors collapse in any LightningModule: lightly's, solo-learn's, yours.

Needs `lightning.pytorch` or `pytorch_lightning`; nothing else in this package does.
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from math import isnan
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ssl_norm.distributed import world_size
from ssl_norm.monitors.collapse_monitor import CollapseMonitor
from ssl_norm.monitors.layers import LayerMonitor, LayerOutputs, LayerRow
from ssl_norm.monitors.projectors import find_layers, find_projectors, pairs_of_calls
from ssl_norm.registry import load_object

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_VERDICT_NUMBERS = {"healthy": 0, "uncertain": 1, "dimensional": 2, "complete": 3}
_ON_COLLAPSE = ("warn", "stop", "ignore")
_DRAW = "ssl_norm.figures.layers:layer_pixels"


def _callback_class() -> type:
    """Return the `Callback` of the imported Lightning, else of an installed one, else object."""
    imported = [name for name in _PACKAGES if name in sys.modules]
    for name in (*imported, *_PACKAGES):
        try:
            found: type = import_module(name).Callback
        except ModuleNotFoundError:
            continue
        return found
    return object


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Callback = object
else:
    Callback = _callback_class()


class CollapseCallback(Callback):
    """Monitor the training of a LightningModule for collapse, without a change to it.

    Forward hooks on its projectors keep the embeddings of each training step. They are gathered
    over processes, and measured before the optimizer steps. Every `log_every` steps the
    measurements are logged as `collapse/negative_cosine`, ..., and the verdict as a number
    `collapse/verdict` (0 healthy, 1 uncertain, 2 dimensional, 3 complete). The last of several
    accumulated batches counts; under manual optimization the calls before the optimizer's first
    step. A step is a batch after which any number of optimizers stepped.

    Where the target sees its images in another order (MoCo's shuffled keys), the positive cosine
    has no meaning; all other values are right.

    Args:
        online: name of the projector, as `model.head`; None: see
            :func:`ssl_norm.monitors.projectors.find_projectors`.
        target: name of the slowly moving projector; None: found in the same way; `none`: left out.
        joint: whether one call of a projector sees both views, first all of view 1; else each call
            sees one view, and only the first two calls count (not local crops).
        log_every: steps between logged values and verdicts, a multiple of the trainer's
            `log_every_n_steps`, or the logger skips them; None: the same.
        on_collapse: `warn`, `stop` (ends training at complete collapse, and warns) or `ignore`.
        layers: whether to measure every encoder stage and head layer (`layer_rows`; with a
            TensorBoardLogger the picture `collapse/layers`, drawn after each epoch); or the layers
            by name.
        layers_every: steps between measurements of layers.
        monitor: with thresholds, patience and other options; None: `CollapseMonitor()`.
        draw: makes the picture (H, W, 3) of `layer_rows`, or `module:function`.

    Attributes:
        monitor: has verdict, evidence and `collapsed_at_step`.
        layer_rows: measurements of layers so far.

    Raises:
        ImportError: Lightning is not installed.
        ValueError: an option is out of range; when training starts, no projector was found; in the
            first step, it was not called as expected.

    Example:
        trainer = Trainer(callbacks=[CollapseCallback(on_collapse="stop")])
    """

    def __init__(
        self,
        online: str | None = None,
        target: str | None = None,
        *,
        joint: bool = False,
        log_every: int | None = None,
        on_collapse: str = "warn",
        layers: bool | Mapping[str, nn.Module] = False,
        layers_every: int = 50,
        monitor: CollapseMonitor | None = None,
        draw: "Callable[[Sequence[LayerRow]], NDArray[np.uint8]] | str" = _DRAW,
    ) -> None:
        if Callback is object:
            install = "pip install lightning, or pytorch-lightning"
            raise ImportError(f"CollapseCallback needs Lightning: {install}")
        if on_collapse not in _ON_COLLAPSE:
            known = ", ".join(_ON_COLLAPSE)
            raise ValueError(f"on_collapse must be one of {known}, got {on_collapse!r}")
        for name, steps in (("log_every", log_every), ("layers_every", layers_every)):
            if steps is not None and steps < 1:
                raise ValueError(f"{name} must be at least 1 step, got {steps}")
        super().__init__()
        self.monitor = CollapseMonitor() if monitor is None else monitor
        self.layer_rows: list[LayerRow] = []
        self._names = (online, target)
        self._joint = joint
        self._log_every = log_every
        self._on_collapse = on_collapse
        self._layers = layers
        self._layers_every = layers_every
        self._draw = draw
        self._outputs: LayerOutputs | None = None
        self._loss: Tensor | None = None
        self._step = 0
        self._reported = self.monitor.verdict
        self._drawn = 0
        self._missed = False

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint; two callbacks may monitor two projectors."""
        return f"CollapseCallback{self._names}"

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach hooks to the projectors."""
        self._detach()
        names = find_projectors(pl_module, *self._names)
        heads = {role: pl_module.get_submodule(name) for role, name in names.items()}
        self._step = self._step or trainer.global_step
        if layers := self._layers:
            if not isinstance(layers, Mapping):
                layers = find_layers(pl_module, heads["online"])
            self.monitor.layers = LayerMonitor(layers, self._layers_every, joint=self._joint)
        self._outputs = LayerOutputs(heads, most_calls=2)
        self.monitor.gather = True

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Drop the batch before, and listen."""
        assert self._outputs is not None
        self._outputs.clear()
        self._outputs.listening = True
        self._loss, self._missed = None, False
        self.monitor.start(self._step + 1)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Keep the loss as evidence, unless a loss scaler scaled it."""
        is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        accumulated = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
        self._loss = None if is_scaled else loss.detach().mean() * accumulated

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Measure the outputs of the projectors; every `log_every` steps judge and log."""
        outputs = self._outputs
        if outputs is None or not outputs.listening:  # a further optimizer in the same batch
            return
        online, target = (outputs.kept.get(role, []) for role in ("online", "target"))
        self._missed = not online
        if self._missed:
            return
        outputs.listening = False
        pairs = pairs_of_calls(online, target, self._joint)
        outputs.clear()
        self._step += 1
        if len(pairs[0][0]) * world_size() > 1:
            self.monitor.observe(self._step, pairs, self._loss)
        else:
            warnings.warn("a batch of one image has no negative cosine: left out", stacklevel=1)
        if self._step % (self._log_every or trainer.log_every_n_steps or 50) == 0:
            values = self._judge(trainer)
            pl_module.log_dict({f"collapse/{name}": value for name, value in values.items()})

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raise ValueError if the optimizer stepped and no embeddings were seen."""
        assert self._outputs is not None
        self._outputs.listening = False
        if self._missed:
            name = find_projectors(pl_module, *self._names)["online"]
            raise ValueError(
                f"the projector {name} put out no embeddings before the optimizer stepped: name "
                "the submodule that is called in training_step, as in online='NAME'"
            )

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Draw the layers."""
        self._draw_layers(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Judge the last steps, and draw the layers."""
        self._judge(trainer)
        self._draw_layers(trainer)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Remove the hooks."""
        self._detach()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Remove the hooks."""
        self._detach()

    def state_dict(self) -> dict[str, Any]:
        """Return the state that training needs to resume exactly, as plain values and tensors."""
        return {
            "monitor": self.monitor.state_dict(),
            "step": self._step,
            "reported": self._reported,
            "layer_rows": [list(row) for row in self.layer_rows],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        self.monitor.load_state_dict(state_dict["monitor"])
        self._step, self._reported = state_dict["step"], state_dict["reported"]
        self.layer_rows = [LayerRow(*row) for row in state_dict["layer_rows"]]

    def _judge(self, trainer: Any) -> dict[str, float]:
        """Collect the measurements, act on a new collapse, and return the values to log."""
        values = self.monitor.collect()
        self.monitor.take_snapshots()
        self.layer_rows.extend(self.monitor.take_layer_rows())
        verdict = self.monitor.verdict
        is_new = verdict in ("dimensional", "complete") and verdict != self._reported
        self._reported = verdict
        if is_new and self._on_collapse != "ignore":
            if self._on_collapse == "stop" and verdict == "complete":
                trainer.should_stop = True
            if trainer.is_global_zero:
                since = f"collapse since step {self.monitor.collapsed_at_step}"
                message = f"{verdict} {since}: {self.monitor.evidence}"
                warnings.warn(message, stacklevel=1)  # of this module: many silence Lightning's
        values["verdict"] = float(_VERDICT_NUMBERS[verdict])
        return {name: value for name, value in values.items() if not isnan(value)}

    def _draw_layers(self, trainer: Any) -> None:
        """Write the picture of the layers to every TensorBoardLogger, if there are new rows."""
        boards = [
            logger
            for logger in trainer.loggers
            if any(kind.__name__ == "TensorBoardLogger" for kind in type(logger).__mro__)
        ]
        if not boards or len(self.layer_rows) == self._drawn or not trainer.is_global_zero:
            return
        draw = load_object(self._draw) if isinstance(self._draw, str) else self._draw
        self._drawn = len(self.layer_rows)
        picture = draw(self.layer_rows)
        for board in boards:
            board.experiment.add_image("collapse/layers", picture, self._step, dataformats="HWC")

    def _detach(self) -> None:
        if self._outputs is not None:
            self._outputs.remove()
            self._outputs = None
        if self._layers and self.monitor.layers is not None:
            self.monitor.layers.remove()
            self.monitor.layers = None
