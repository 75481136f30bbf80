"""Tools as Python functions with settings as keyword arguments and results as return values.

    import ssl_norm

    run = ssl_norm.pretrain(method="simclr", epochs=5, norm={"encoder": "gn+ws"})
    found = ssl_norm.linear_eval(checkpoint=run.folder)

Keywords are the settings of the command line, and are checked in the same way: `data="folder"` or
`data={"name": "folder", "root": "photos"}` chooses a file of configs/, `**{"data.root": "photos"}`
sets one value. A norm may be a name, a mapping, or a class. A learner, source or encoder may be a
name, `module:object` or the object itself.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ssl_norm.registry import load_object

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ssl_norm.evaluate.record import Result
    from ssl_norm.models.load import NetworkRole
    from ssl_norm.train.engine import RunResult


def pretrain(**settings: Any) -> "RunResult":
    """Pretrain an encoder with settings of tools/pretrain.py; return run folder and summary.

    Raises:
        UserError: a setting is wrong, or does not fit the data or the machine.
        CollapseStop: the representation collapsed, and `monitor.on_collapse` is `stop` or
            `rollback`.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    return cast("RunResult", _run("pretrain", settings))


def finetune(**settings: Any) -> "RunResult":
    """Train a classifier with settings of tools/finetune.py; return run folder and summary.

    Raises:
        UserError: a setting is wrong, or does not fit the data, the checkpoint or the machine.
        NonFiniteLoss: the loss became NaN or infinite.
    """
    return cast("RunResult", _run("finetune", settings))


def linear_eval(**settings: Any) -> "Result":
    """Evaluate a frozen encoder as tools/linear_eval.py does; return its record.

    Raises:
        UserError: a setting is wrong, or does not fit the checkpoint or the data.
    """
    return cast("Result", _run("linear_eval", settings))


def diagnose(**settings: Any) -> "Result":
    """Measure a checkpoint as tools/diagnose.py does; return verdict and record.

    Raises:
        UserError: a setting is wrong, or does not fit the checkpoint or the data.
    """
    return cast("Result", _run("diagnose", settings))


def population_stats(**settings: Any) -> "Result":
    """Recompute batch statistics as tools/population_stats.py does; return record and checkpoint.

    Raises:
        UserError: a setting is wrong, or does not fit the checkpoint or the data.
    """
    return cast("Result", _run("population_stats", settings))


def load_encoder(
    checkpoint: str | Path, *, network: "NetworkRole" = "online", **settings: Any
) -> "tuple[nn.Module, Callable[[Tensor], Tensor]]":
    """Return the encoder of a checkpoint in evaluation mode, and the function that makes its input.

    Its stem, norms and image size are those of its training, read from the file (`encoder_record`).

    Args:
        checkpoint: a run folder, or a file of weights.
        network: `online`, or `target` for the EMA network of BYOL or MoCo.
        **settings: `encoder`, `norm`, `augment` and `data` of tools/linear_eval.py, as mappings;
            weights of another package need `encoder={"name": ...}` and `data={"name": ...,
            "image_size": ...}`.

    Returns:
        The encoder, from (N, 3, S, S) to features (N, num_features), and a function from uint8
        pixels (N, H, H, 3) to its input.

    Raises:
        UserError: the checkpoint cannot be read, or does not fit.

    Example:
        >>> encoder, view = load_encoder("runs/x")  # doctest: +SKIP
        >>> features = encoder(view(pixels))  # doctest: +SKIP
    """
    from ssl_norm.evaluate.checkpoint import Checkpoint

    found = Checkpoint.read(checkpoint, settings)
    encoder, _ = found.encoder(network)
    return encoder.eval(), found.evaluation_view


def report(**settings: Any) -> Path:
    """Write tables and figures of many runs as tools/report.py does; return their folder.

    Raises:
        UserError: a setting is wrong, or no run is found.
    """
    return cast(Path, _run("report", settings))


def settings_of(tool: str, settings: Mapping[str, Any]) -> Any:
    """Return the checked settings of a tool from keywords."""
    from ssl_norm.cli.command import checked_settings, command_settings, typed_lines
    from ssl_norm.settings.compose import composed_values

    typed = checked_settings(list(typed_lines(tool, settings)), tool)
    return command_settings(tool, composed_values(tool, typed), typed)


def _run(tool: str, settings: Mapping[str, Any]) -> Any:
    return load_object(f"ssl_norm.commands.{tool}:{tool}")(settings_of(tool, settings))
