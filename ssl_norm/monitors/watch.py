"""Collapse monitor on the projectors of a network, in any training loop."""

import warnings
from collections.abc import Callable, Mapping
from math import isnan
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ssl_norm.distributed import rank, world_size
from ssl_norm.errors import CollapseStop
from ssl_norm.monitors.collapse_monitor import CollapseMonitor
from ssl_norm.monitors.layers import LayerMonitor, LayerOutputs, LayerRow
from ssl_norm.monitors.pairing import Pairing
from ssl_norm.monitors.projectors import find_layers, find_projectors
from ssl_norm.names import at_least

VERDICT_NUMBERS = {
    "healthy": 0.0,
    "uncertain": 1.0,
    "collapsing": 1.5,
    "dimensional": 2.0,
    "complete": 3.0,
}
_ON_COLLAPSE = ("warn", "stop", "ignore")
_MOST_CALLS = 16  # of a projector in one step

Part = str | nn.Module | None


class CollapseWatch:
    """CollapseMonitor of the outputs of a network's projectors, recorded by forward hooks.

    Call `step` once for each step of the optimizer, and `judge` when values are logged;
    :func:`attach` does both by a hook on the optimizer. Only calls of the online projector in
    training mode count. :class:`ssl_norm.monitors.pairing.Pairing` measures which of their rows are
    views of one image. Until this is known, the positive cosine is NaN, and everything else is
    measured on the first call.

    Args:
        online: projector, or its name, as `model.head`; None: see
            :func:`ssl_norm.monitors.projectors.find_projectors`.
        target: projector of the EMA network, or its name; `none`: ignore it; None: search for it,
            or ignore it if `online` is a module.
        joint: True: a call holds two views, all of view 1 first; False: a call holds one view;
            None: measured.
        on_collapse: `warn`, `stop` (complete collapse sets `should_stop`, and warns) or `ignore`.
        layers: True: measure every encoder stage and head layer; or the layers by name.
        layers_every: steps between measurements of layers.
        monitor: monitor with your thresholds, patience, ...; None: `CollapseMonitor()`.

    Attributes:
        monitor: has verdict, evidence and `collapsed_at_step`.
        layer_rows: measurements of layers so far.
        steps: number of steps so far.
        should_stop: whether training should end.
    """

    def __init__(
        self,
        *,
        online: Part = None,
        target: Part = None,
        joint: bool | None = None,
        on_collapse: str = "warn",
        layers: bool | Mapping[str, nn.Module] = False,
        layers_every: int = 50,
        monitor: CollapseMonitor | None = None,
    ) -> None:
        if on_collapse not in _ON_COLLAPSE:
            known = ", ".join(_ON_COLLAPSE)
            raise ValueError(f"on_collapse must be one of {known}, got {on_collapse!r}")
        self.monitor = CollapseMonitor() if monitor is None else monitor
        self.layer_rows: list[LayerRow] = []
        self.steps = 0
        self.should_stop = False
        self._online, self._target = online, target
        self._joint = joint
        self._on_collapse = on_collapse
        self._layers = layers
        self._layers_every = at_least(1, layers_every=layers_every)
        self._pairing = Pairing(joint)
        self._reported = self.monitor.verdict
        self._warned = False
        self._calls: _Calls | None = None
        self._name = ""

    def attach(self, network: nn.Module) -> "CollapseWatch":
        """Add hooks to the projectors of a network, at any depth; see `detach`.

        Raises:
            ValueError: no projector, or no encoder although its layers are requested.
        """
        self.detach()
        heads = _heads(network, self._online, self._target)
        if layers := self._layers:
            if not isinstance(layers, Mapping):
                layers = find_layers(network, heads["online"])
            every, joint = self._layers_every, bool(self._joint)
            self.monitor.layers = LayerMonitor(layers, every, joint=joint)
        self.monitor.gather = True
        names = {module: name for name, module in network.named_modules()}
        self._name = names.get(heads["online"], type(heads["online"]).__name__)
        self._calls = _Calls(heads, most_calls=_MOST_CALLS)
        self.start()
        return self

    def start(self) -> None:
        """Drop the recorded calls and start again; needed only if a step has several batches."""
        assert self._calls is not None, "attach was not called"
        self._calls.clear()
        self._calls.listening = True
        self.monitor.start(self.steps + 1)

    def pause(self) -> None:
        """Ignore calls until the next `start`."""
        if self._calls is not None:
            self._calls.listening = False

    @property
    def has_calls(self) -> bool:
        """Return whether the online projector was called since the last step."""
        return self._calls is not None and bool(self._calls.kept["online"])

    def step(self, loss: Tensor | float | None = None) -> None:
        """Measure the calls since the last step, before the optimizer clears the gradients.

        A further step on the same calls, as of a second optimizer, does not count. The loss is used
        in the evidence of the verdict. A batch of one image warns, and so does a loop without a
        form in 6,400 images.

        Raises:
            ValueError: the projector was not called before the first step, or its calls do not fit
                `joint`.
        """
        if not self.has_calls:
            if self.steps:
                return
            raise ValueError(
                f"the projector {self._name} was not called before the optimizer stepped: name the "
                "submodule that the training step calls, as in online='NAME'"
            )
        assert self._calls is not None
        self.steps += 1
        online, target = (self._calls.kept.get(role, []) for role in ("online", "target"))
        form = self._pairing.form(online, target)
        pairs = form.take([*online, *target])
        if self.monitor.layers is not None and form.matched:
            self.monitor.layers.joint = form.views[0] == 2 and not form.interleaved
        if len(pairs[0][0]) * world_size() > 1:
            first = pairs[0][0]
            self.monitor.observe(self.steps, pairs if form.matched else first, loss)
        else:
            warnings.warn(
                "a batch of one image has no negative cosine and is ignored", stacklevel=2
            )
        self._calls.clear()
        if self._pairing.is_unclear and not self._warned and self.monitor.verdict != "complete":
            self._warned = True
            warnings.warn(
                "no two outputs of the projectors match row by row in 6,400 images, so the positive "
                "cosine is NaN: pass joint=True (a call holds view 1, then view 2) or joint=False "
                "(a call holds one view), or name the projectors that see two views of one image; if "
                "there is one view of each image, ignore this",
                stacklevel=2,
            )

    def judge(self) -> dict[str, float]:
        """Collect the measurements, act on a new collapse, and return the values to log.

        They are the values of `monitor.collect` except NaN, and `verdict` (0 healthy, 1 uncertain,
        1.5 collapsing, 2 dimensional, 3 complete). A new collapse warns unless it is ignored.
        """
        values = self.monitor.collect()
        self.monitor.take_snapshots()
        self.layer_rows.extend(self.monitor.take_layer_rows())
        verdict = self.monitor.verdict
        is_new = verdict in ("collapsing", "dimensional", "complete") and verdict != self._reported
        self._reported = verdict
        if is_new and self._on_collapse != "ignore":
            self.should_stop = self._on_collapse == "stop" and verdict == "complete"
            if rank() == 0:
                began = self.monitor.collapsed_at_step  # None while collapsing
                since = "" if began is None else f" collapse since step {began}"
                message = f"{verdict}{since}: {self.monitor.evidence}"
                warnings.warn(message, stacklevel=2)
        values["verdict"] = VERDICT_NUMBERS[verdict]
        return {name: value for name, value in values.items() if not isnan(value)}

    def detach(self) -> None:
        """Remove all hooks from the network."""
        if self._calls is not None:
            self._calls.remove()
            self._calls = None
        if self._layers and self.monitor.layers is not None:
            self.monitor.layers.remove()
            self.monitor.layers = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state that training needs to resume exactly, as plain values and tensors."""
        return {
            "monitor": self.monitor.state_dict(),
            "step": self.steps,
            "reported": self._reported,
            "layer_rows": [list(row) for row in self.layer_rows],
            "pairing": self._pairing.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        self.monitor.load_state_dict(state["monitor"])
        self.steps, self._reported = state["step"], state["reported"]
        self.layer_rows = [LayerRow(*row) for row in state["layer_rows"]]
        if "pairing" in state:
            self._pairing.load_state_dict(state["pairing"])


def attach(
    network: nn.Module,
    optimizer: Optimizer,
    *,
    log: Callable[[dict[str, float], int], object] | None = None,
    log_every: int = 50,
    **options: Any,
) -> CollapseWatch:
    """Watch a training loop for collapse, without changing it.

    Hooks on the optimizer measure before each of its steps, or after a step with a closure. The
    first of several accumulated batches is measured. A compiled network must not have been called
    before. Network and optimizer may be wrapped by DDP, Fabric or Accelerate.

    Args:
        network: network that contains the projectors.
        optimizer: optimizer of the loop.
        log: function that is called with the values of :meth:`CollapseWatch.judge` and the step,
            every `log_every` steps.
        log_every: steps between logged values and verdicts, at least 1.
        options: of :class:`CollapseWatch`; `on_collapse="stop"` makes the step of the optimizer
            raise CollapseStop at complete collapse.

    Raises:
        ValueError: no projector was found, or the first step did not call it.

    Example:
        >>> from torch.optim import SGD
        >>> network = nn.ModuleDict({"backbone": nn.Linear(8, 16), "projector": nn.Linear(16, 4)})
        >>> optimizer = SGD(network.parameters(), lr=0.05)
        >>> watch = attach(network, optimizer, log=lambda values, step: print(step, len(values)))
    """
    at_least(1, log_every=log_every)
    while (inner := getattr(optimizer, "optimizer", None)) is not None:
        optimizer = inner
    watch = CollapseWatch(**options).attach(network)

    def measure(*_: Any) -> None:
        if watch._calls is None:  # detached
            return
        before = watch.steps
        watch.step()
        if watch.steps > before and watch.steps % log_every == 0:
            values = watch.judge()
            if log is not None:
                log(values, watch.steps)
            if watch.should_stop:
                raise CollapseStop(f"complete collapse: {watch.monitor.evidence}")

    def before_step(*_: Any) -> None:
        if watch.has_calls:
            measure()

    optimizer.register_step_pre_hook(before_step)
    optimizer.register_step_post_hook(measure)  # calls by a closure are inside the step
    return watch


class _Calls(LayerOutputs):
    """Outputs of the projectors while the online one is in training mode."""

    def __init__(self, heads: Mapping[str, nn.Module], most_calls: int) -> None:
        super().__init__(heads, most_calls)
        self._online = heads["online"]

    def keep(self, name: str, output: Any) -> None:
        if self._online.training:
            super().keep(name, output)


def _heads(network: nn.Module, online: Part, target: Part) -> dict[str, nn.Module]:
    heads = {"target": target} if isinstance(target, nn.Module) else {}
    if isinstance(online, nn.Module):
        heads["online"] = online
        if isinstance(target, str) and target != "none":
            heads["target"] = network.get_submodule(target)
        return heads
    name = "none" if isinstance(target, nn.Module) else target
    found = find_projectors(network, online, name)
    return {role: network.get_submodule(path) for role, path in found.items()} | heads
