"""The function `doctor`, which runs a few steps of a training loop, checks them and undoes them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_norm.checkup.checks import CHECKS
from ssl_norm.checkup.record import Record, find_targets
from ssl_norm.checkup.state import SAVED, SavedState, home_of, referred
from ssl_norm.text import text_table

_LARGE = 2**26  # a tensor outside the networks with more elements counts as data
_AVERAGE = re.compile("(?i)ema|average|momentum|teacher|target")  # names of objects with a schedule


class Result(NamedTuple):
    """Result of one check; `line` is the finding, or the reason why there is none."""

    name: str
    state: str
    line: str
    repair: str
    source: str


class Checkup(dict[str, Result]):
    """Results by the names of the checks; `str` makes a table of them with repairs."""

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [name for name, result in self.items() if result.state == "fail"]

    def __str__(self) -> str:
        rows = []
        for result in self.values():
            rows.append((result.state, result.name, result.line))
            if result.state in ("warn", "fail"):
                rows += [("", "", f"-> {result.repair}"), ("", "", f"   {result.source}")]
        return text_table(rows)


def doctor(
    model: nn.Module,
    step_fn: Callable[..., Any],
    *,
    batches: Iterable[Any] | None = None,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    target: nn.Module | str | None = None,
    views: Sequence[Tensor] | Callable[..., Sequence[Tensor]] | None = None,
    labels: Sequence[Iterable[Any]] | Callable[..., Iterable[Any]] | None = None,
    steps: int = 3,
) -> Checkup:
    """Run a few steps of a training loop, check them for known bugs, and undo them.

    Afterwards, parameters, buffers, gradients, states of optimizers, loss scalers and random
    generators, modes, hooks and counters are the same to the bit; only an iterator has lost `steps`
    batches. Further networks and optimizers are found by the names that `step_fn` uses.

    Args:
        model: the network, or a module that contains all networks.
        step_fn: one whole step of the loop: views, forward and backward pass, optimizer, target.
        batches: for example the DataLoader; `step_fn` is called with each batch. None: it is called
            without arguments.
        optimizer: one or several optimizers; None: those that `step_fn` refers to.
        target: the target network, or its name; None: modules named target, teacher, ema,
            momentum, ...
        views: two views (N, ...) of a batch, or a function of the batch that returns those of the
            last step; None: the inputs of the first layer.
        labels: class labels (N,) of each step, or a function from a batch to them; None: the first
            tensor of integers (N,) in a batch that has repeated values.
        steps: number of steps, at least 2; more steps and larger batches give stronger evidence.

    Raises:
        ValueError: `steps` is below 2, there are fewer batches, or the target does not exist.

    Example:
        >>> import torch
        >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
        >>> optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
        >>> def step():
        ...     view = torch.randn(32, 3, 2, 2)
        ...     loss = -torch.cosine_similarity(encoder(view), encoder(view)).mean()
        ...     loss.backward()
        ...     optimizer.step()
        >>> doctor(encoder, step).failed
        ['views_differ']
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
    names = referred(step_fn)
    parts, objects = _parts(model, names, target), _objects(step_fn, names)
    given = [optimizer] if isinstance(optimizer, Optimizer) else optimizer
    used = given or list({id(o): o for o in names.values() if isinstance(o, Optimizer)}.values())
    found = find_targets(parts, target)
    others = [value for value in names.values() if isinstance(value, SAVED)]
    others = [v for v in others if not isinstance(v, Tensor) or v.numel() <= _LARGE]
    state = SavedState(step_fn, *parts.values(), *used, *map(vars, objects.values()), *others)
    stopped = ""
    try:
        schedules = {
            name: v
            for name, v in objects.items()
            if hasattr(v, "load_state_dict") or _AVERAGE.search(f"{name} {type(v).__name__}")
        }
        record = Record(parts, schedules, found, used, state)
        stopped = _run(record, step_fn, batches, views, labels, steps)
        record.finish()
    finally:
        state.restore()
    checkup = Checkup()
    for name, check in CHECKS.items():
        result, line = check.find(record)
        if stopped and result != "fail":
            result, line = "not checked", f"a step ended with: {stopped}"
        checkup[name] = Result(name, result, line, check.repair, check.source)
    return checkup


def _parts(
    model: nn.Module, names: Mapping[str, Any], target: nn.Module | str | None
) -> dict[str, nn.Module]:
    """Return the networks by prefix: the model, and other modules with weights outside it."""
    parts = {"": model}
    for name, module in {**names, "target": names.get("target", target)}.items():
        if isinstance(module, nn.Module) and next(module.parameters(), None) is not None:
            is_inside = any(part is module for found in parts.values() for part in found.modules())
            parts |= {} if is_inside else {name: module}
    return parts


def _objects(step_fn: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the objects, except networks, whose classes are defined in the module of the loop."""
    home = home_of(step_fn)
    return {
        name: value
        for name, value in names.items()
        if type(value).__module__ == home and hasattr(value, "__dict__")
        if not isinstance(value, nn.Module | Optimizer | type)
    }


def _run(
    record: Record,
    step_fn: Callable[..., Any],
    batches: Iterable[Any] | None,
    views: Any,
    labels: Any,
    steps: int,
) -> str:
    """Run the steps; return the error message of a batch norm that refused a batch, or ""."""
    arguments = repeat(()) if batches is None else ((batch,) for batch in batches)
    for number, batch in enumerate(islice(arguments, steps)):
        record.start()
        try:
            step_fn(*batch)
        except ValueError as error:
            if min(record.values.values(), default=2) > 1:
                raise
            return str(error)
        given = labels(*batch) if callable(labels) else labels[number] if labels else None
        seen = views(*batch) if callable(views) else views
        record.end(seen, _labels(batch) if given is None else given)
    if record.steps < steps:
        raise ValueError(f"batches: {record.steps} found, expected at least steps={steps}")
    return ""


def _labels(batch: Sequence[Any]) -> Tensor | None:
    """Return the first integers (N,) in a batch that have repeated values, or None."""
    items = batch[0] if batch and isinstance(batch[0], list | tuple) else ()
    rows = [x for x in items if isinstance(x, Tensor) and x.ndim == 1 and not x.is_floating_point()]
    return next((x for x in rows if len(set(x.tolist())) < len(x)), None)
