"""Callback of transformers' Trainer that monitors collapse in any model.

It needs `transformers`; no other module of this package does.
"""

from typing import TYPE_CHECKING, Any

from ssl_norm.monitors.watch import CollapseWatch

if TYPE_CHECKING:
    TrainerCallback = object
else:
    try:
        from transformers import TrainerCallback
    except ModuleNotFoundError:
        TrainerCallback = object


class CollapseTrainerCallback(TrainerCallback):
    """Monitor a training by transformers' Trainer for collapse, without changing it.

    Every `logging_steps` steps, the values of :meth:`ssl_norm.monitors.watch.CollapseWatch.judge`
    are added to the Trainer's own logs as `collapse/negative_cosine`, ..., `collapse/verdict`. The
    first of several accumulated batches is measured.

    Args:
        options: of CollapseWatch; `on_collapse="stop"` ends the training at complete collapse.

    Raises:
        ValueError: no projector was found at the start of training, or the first step did not call
            it.

    Example:
        trainer = Trainer(..., callbacks=[CollapseTrainerCallback(online="projector")])
    """

    def __init__(self, **options: Any) -> None:
        if not TYPE_CHECKING and TrainerCallback is object:
            install = "pip install transformers"
            raise ImportError(f"CollapseTrainerCallback needs transformers: {install}")
        super().__init__()
        self.watch = CollapseWatch(**options)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Attach hooks to the projectors."""
        self.watch.steps = state.global_step
        self.watch.attach(model)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the outputs of the projectors."""
        self.watch.step()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Add the values and the verdict to the Trainer's logs."""
        values = self.watch.judge()
        control.should_training_stop |= self.watch.should_stop
        named = {f"collapse/{name}": value for name, value in values.items()}
        for record in (logs, state.log_history[-1] if state.log_history else None):
            if record is not None:
                record.update(named)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Judge the last steps, and remove the hooks."""
        self.watch.judge()
        self.watch.detach()
