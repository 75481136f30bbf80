"""Record of a few steps of a training loop: inputs of its networks, and changes by the steps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

from ssl_norm.checkup.state import SavedState
from ssl_norm.distributed import world_size
from ssl_norm.models.checkpoint_prefixes import names_any, names_target
from ssl_norm.names import unknown_name
from ssl_norm.norms.swap.find import BATCH_NORMS, keeps_batch_statistics

_SHORT = frozenset({"k", "key"})  # attention layers also have these names
Parts = Mapping[str, nn.Module]
Pair = tuple[Tensor, Tensor]  # statistics of two views
_SIDE = 4  # side of a view after pooling


@dataclass(eq=False)
class Record:
    """Facts about steps between `start` and `end`, which hooks gather; `finish` ends the record.

    Names are those of modules, with a prefix for each part; `""` is the model.
    """

    parts: Parts  # the networks of the loop by prefix
    objects: Mapping[str, Any]  # other objects of the loop that may have a schedule, by name
    targets: Sequence[str]  # names of the target's outermost modules
    optimizers: Sequence[torch.optim.Optimizer]
    state: SavedState  # of all these before the steps
    steps: int = 0
    processes: int = field(default_factory=lambda: world_size())
    views: list[Pair] = field(default_factory=list)  # statistics of two views of each step
    # Origin of the views: `given`, `online`, `target` (the second view was an input of the target),
    # `rows` (one tensor had both); "" without two views.
    views_from: str = ""
    # `online` if both views were equal in a step; `target` if online network and target had the
    # same single view.
    identical: str = ""
    # For each view (2 + 2 C,): least and largest value, means and deviations of channels.
    pixels: list[Tensor] = field(default_factory=list)
    outputs: dict[str, Tensor] = field(default_factory=dict)  # (N, D) of first calls, by module
    graded: set[int] = field(default_factory=set)  # ids of the parameters that got a gradient
    # The fewest values per channel of a batch norm in training, by its name.
    values: dict[str, int] = field(default_factory=dict)
    # Share of its old value that the target kept in each step, where it is measurable.
    decays: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # numbers that state dicts do not restore
    load_error: str = ""  # of a state dict that does not load
    labels: list[list[Any]] = field(default_factory=list)  # of each step; empty if unknown

    listening = False  # copies of the networks have the hooks as well

    def __post_init__(self) -> None:
        self._joint: list[Tensor] = []  # statistics of the view in steps with one view
        self._before, self._after = self._values(), dict[str, Tensor]()
        self._numbers = self._all_numbers()
        self._followed = list(zip(*self._pairs(), strict=True))
        self._names = {id(module): name for name, module in named_modules(self.parts)}
        for module in {id(module): module for _, module in named_modules(self.parts)}.values():
            if not isinstance(module, torch.jit.ScriptModule):
                module.register_forward_pre_hook(self._enter, with_kwargs=True)
                module.register_forward_hook(self._leave, always_call=True)
        for tensor in tensors_of(self.parts).values():
            if isinstance(tensor, nn.Parameter) and tensor.requires_grad:
                hooked: Any = tensor
                hooked.register_post_accumulate_grad_hook(lambda p: self.graded.add(id(p)))

    def __deepcopy__(self, memo: object) -> "Record":
        return object.__new__(Record)

    def in_target(self, name: str) -> bool:
        """Return whether a name is inside the target."""
        return any(name == root or name.startswith(f"{root}.") for root in self.targets)

    def parameters(self, *, target: bool) -> dict[str, nn.Parameter]:
        """Return the parameters inside or outside of the target by name."""
        return {
            name: tensor
            for name, tensor in tensors_of(self.parts).items()
            if isinstance(tensor, nn.Parameter) and self.in_target(name) == target
        }

    def moved(self, name: str) -> bool:
        """Return whether a parameter or buffer changed."""
        return name in self._after and not torch.equal(self._before[name], self._after[name])

    def batch_norms(self) -> dict[str, nn.Module]:
        """Return the batch norms outside of the target by name."""
        named = dict(named_modules(self.parts)).items()
        return {name: m for name, m in named if is_batch_norm(m) and not self.in_target(name)}

    def start(self) -> None:
        """Start the record of the next step."""
        self._seen: list[tuple[str, Tensor]] = []  # role of a network, and its input
        self._kept: list[Tensor] = []  # outputs, so that no other tensor gets their memory
        self._opened: list[bool] = []  # whether each running call opened a scope
        self._scopes: list[tuple[str, nn.Module | None]] = []  # role, first layer with weights
        self._old = [[tensor.detach().clone() for tensor in side] for side in self._followed]
        self.listening = True

    def end(self, views: Sequence[Tensor] | None, labels: Iterable[Any] | None) -> None:
        """Record the facts of a step; if `views` is None, they are the inputs of the networks."""
        self.listening = False
        self.steps += 1
        self.pixels += [_pixels(view) for _, view in self._seen]
        if labels is not None:
            self.labels.append([x.item() if isinstance(x, Tensor) else x for x in labels])
        if views is None:
            self._find_views()
        else:
            self.identical = self.identical or "online" * torch.equal(views[0], views[1])
            self._add_views("given", views[0], views[1])
        if self._followed and (decay := self._decay()) is not None:
            self.decays.append(decay)

    def finish(self) -> None:
        """Record the changes, then resume from state dicts, which changes the networks."""
        if not self.views and (pairs := halves(self._joint)):
            self.views, self.views_from, self.identical = pairs, "rows", ""
        self._after, numbers = self._values(), self._all_numbers()
        owners = {**self.parts, **self.objects}
        owners = {k: v for k, v in owners.items() if hasattr(v, "load_state_dict")}
        saved = {name: deepcopy(owner.state_dict()) for name, owner in owners.items()}
        self.state.restore()
        try:
            for name, state in saved.items():
                owners[name].load_state_dict(state)
        except Exception as error:  # a foreign load_state_dict may raise anything
            self.load_error = " ".join(str(error).split())
        resumed = self._all_numbers()
        self.lost = [
            f"{name}: {self._numbers.get(name, 'unset')} -> {value}"
            for name, value in numbers.items()
            if value not in (self._numbers.get(name), resumed.get(name))
        ]

    def _values(self) -> dict[str, Tensor]:
        tensors = tensors_of(self.parts).items()
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors}

    def _all_numbers(self) -> dict[str, float]:
        owners = [*named_modules(self.parts), *self.objects.items()]
        return {
            f"{name}.{key}".lstrip("."): value
            for name, owner in owners
            for key, value in vars(owner).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }

    def _hears(self) -> bool:
        """Return whether a call is in a step and not a recomputation in its backward pass."""
        return self.listening and torch._C._current_graph_task_id() == -1

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Record the input of the first layer in an outermost call or in a call of the target."""
        if not self._hears():
            return
        name = self._names[id(module)]
        self._opened.append(not self._opened or name in self.targets)
        if self._opened[-1]:
            self._scopes.append(("target" if self.in_target(name) else "online", None))
        entering = [t for t in _tensors((args, kwargs)) if t.is_floating_point() and t.ndim > 1]
        role, first = self._scopes[-1]
        if module._parameters and first is None:
            self._scopes[-1] = role, first = role, module
        if first is module:
            made = {_place(tensor) for tensor in self._kept}
            views = [t for t in entering if not t.requires_grad and _place(t) not in made]
            self._seen += [(role, view.detach()) for view in views]
        if entering and role == "online" and is_batch_norm(module) and _uses_batch(module):
            values = _values_per_channel(module, entering[0])
            self.values[name] = min(values, self.values.get(name, values))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep the outputs of a scope, and of online modules in the first step."""
        if not self._hears() or not self._opened:
            return
        role = self._scopes[-1][0]
        if self._opened.pop():
            self._scopes.pop()
            self._kept += [tensor.detach() for tensor in _tensors(output)]
        is_rows = isinstance(output, Tensor) and output.ndim == 2 and output.is_floating_point()
        if is_rows and role == "online" and not self.steps:
            self.outputs.setdefault(self._names[id(module)], output.detach().clone())

    def _find_views(self) -> None:
        """Add the first two inputs of equal shape in a step as its views."""
        most = max((view.ndim for _, view in self._seen), default=0)
        online = [view for role, view in self._seen if role == "online" and view.ndim == most]
        same = [view for view in online if view.shape == online[0].shape]
        target = [view for role, view in self._seen if role == "target" and same]
        target = [view for view in target if view.shape == same[0].shape]
        others = [view for view in target if not torch.equal(view, same[0])]
        if len(same) > 1:
            if all(torch.equal(view, same[0]) for view in same):
                self.identical = "online"
            self._add_views("online", same[0], same[1])
        elif others:
            self._add_views("target", same[0], others[0])
        elif same:
            self._joint.append(statistics(same[0]))
            self.identical = self.identical or "target" * bool(target)

    def _add_views(self, source: str, first: Tensor, second: Tensor) -> None:
        self.views_from = source
        self.views.append((statistics(first), statistics(second)))

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Return up to three parameters of the target with the online ones that they average.

        These are online parameters with the same shapes in the same order as those of a module of
        the target, and of several such ranges the nearest.
        """
        online = list(self.parameters(target=False).values())
        named, pairs = self.parameters(target=True), list[tuple[Tensor, Tensor]]()
        for root in self.targets:
            own = [p for name, p in named.items() if name.startswith(f"{root}.")]
            shapes = [p.shape for p in own]
            runs = [online[start : start + len(own)] for start in range(len(online))]
            fitting = [run for run in runs if own and [p.shape for p in run] == shapes]
            if fitting:
                near = min(fitting, key=lambda run: float((run[0] - own[0]).detach().norm()))
                pairs += zip(own, near, strict=True)
        return sorted(pairs, key=lambda pair: -pair[0].numel())[:3]

    def _decay(self) -> float | None:
        """Return the share of its old value that the target kept in a step, if one number fits.

        The fit is target' = share target + (1 - share) online, with the online network before or
        after its step.
        """
        sides = (*self._old, *self._followed)
        old, before, new, after = (
            torch.cat([t.detach().flatten().cpu().double() for t in side]) for side in sides
        )
        moved, fits = new - old, []
        for way in (before - old, after - old):
            share = (moved @ way / (way @ way).clamp(min=1e-30)).item()
            fits.append(((moved - share * way).norm().item(), 1 - share))
        error, kept = min(fits)
        return kept if error < 0.05 * moved.norm().item() else None


def named_modules(parts: Parts) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module by name; a module with two names occurs twice."""
    for prefix, part in parts.items():
        yield from part.named_modules(prefix=prefix, remove_duplicate=False)


def tensors_of(parts: Parts) -> dict[str, Tensor]:
    """Return every parameter and buffer by name; a tensor with two names occurs twice."""
    return {
        f"{name}.{key}".lstrip("."): tensor
        for name, module in named_modules(parts)
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]
        if tensor is not None and not nn.parameter.is_lazy(tensor)
    }


def find_targets(parts: Parts, target: nn.Module | str | None) -> list[str]:
    """Return the names of the outermost modules of a target network.

    Without a given target, these are modules named target, teacher, momentum, ema, ...

    Raises:
        ValueError: there is no such module.
    """
    named, found = dict(named_modules(parts)), list[str]()
    if target is not None:
        found = [name for name, module in named.items() if target in (name, module) and name]
        if not found:
            raise ValueError(f"target: {unknown_name('submodule', str(target)[:60], named)}")
        return found
    for name, module in named.items():
        last = name.rpartition(".")[2]
        is_layer = names_any(last, _SHORT) and "." in name and not any(module.children())
        is_inside = any(name.startswith(f"{root}.") for root in found)
        has_weights = next(module.parameters(), None) is not None
        if names_target(last) and has_weights and not is_layer and not is_inside:
            found.append(name)
    return found


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm with batch statistics."""
    return isinstance(module, BATCH_NORMS) or keeps_batch_statistics(module)


def is_synchronized(norm: nn.Module) -> bool:
    """Return whether a batch norm shares its statistics over all processes."""
    return isinstance(norm, nn.SyncBatchNorm) or bool(getattr(norm, "sync", False))


def _tensors(item: Any) -> Iterator[Tensor]:
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, Mapping | tuple | list):
        for part in item.values() if isinstance(item, Mapping) else item:
            yield from _tensors(part)


def _pixels(view: Tensor) -> Tensor:
    rows = (
        view.float().transpose(0, 1).flatten(1) if view.ndim == 4 else view.float().reshape(1, -1)
    )
    extremes = torch.stack([rows.min(), rows.max()])
    return torch.cat([extremes, rows.mean(1), rows.std(1, correction=0)]).cpu()


def _uses_batch(norm: nn.Module) -> bool:
    tracks = bool(getattr(norm, "track_running_stats", True))
    return bool(getattr(norm, "uses_batch", norm.training or not tracks))


def _values_per_channel(norm: nn.Module, x: Tensor) -> int:
    """Return the number of values of a channel with common statistics: samples times positions."""
    samples = min(len(x), getattr(norm, "batch_size", None) or len(x))
    positions = x.numel() // max(1, x.shape[0] * x.shape[1])
    return samples * positions * (world_size() if is_synchronized(norm) else 1)


class Nearer(NamedTuple):
    """Share of comparisons in which the matching row is nearer than another one; chance is 0.5.

    `error` is its standard error, and `rows` is the number of rows.
    """

    share: float
    error: float
    rows: int

    @property
    def is_clear(self) -> bool:
        """Return whether matching rows are nearer by three standard errors."""
        return self.share - 3 * self.error > 0.5


def statistics(view: Tensor) -> Tensor:
    """Return (N, K) statistics of views (N, C, H, W) or (N, ...) that augmentation changes little.

    These are mean and deviation of each channel, mean absolute differences of neighbours, and the
    pixels of each standardized channel, pooled to 4 x 4.
    """
    x = view.detach().float()
    x = x if x.ndim == 4 else x.reshape(len(x), 1, -1)
    axes = tuple(range(2, x.ndim))
    mean, std = x.mean(axes, keepdim=True), x.std(axes, keepdim=True, correction=0)
    z = (x - mean) / (std + 1e-3)
    pooled = adaptive_avg_pool2d(z, _SIDE) if x.ndim == 4 else adaptive_avg_pool1d(z, _SIDE**2)
    edges = [x.mean(1).diff(dim=axis - 1).abs().flatten(1).mean(1, keepdim=True) for axis in axes]
    scaled = 0.3 * pooled.flatten(1)  # less weight, because the other statistics are few
    return torch.cat([mean.flatten(1), std.flatten(1), *edges, scaled], 1).cpu()


def nearer(pairs: Sequence[Pair]) -> Nearer:
    """Compare the distances of matching rows with those of other rows, within each batch.

    Each pair is of `statistics` (N, K) of two views, and row i of both should be of one image.
    """
    shares = []
    for pair in pairs:
        rows = torch.cat(pair).double()
        first, second = ((rows - rows.mean(0)) / (rows.std(0) + 1e-6)).chunk(2)
        table = torch.cdist(first, second)
        own = table.diagonal()[:, None]
        wins = [(t > own).double() + (t == own).double() / 2 for t in (table, table.T)]
        shares.append((torch.stack(wins).mean(0).sum(1) - 0.5) / max(1, len(own) - 1))
    each = torch.cat([torch.empty(0, dtype=torch.double), *shares])
    if len(each) < 2:
        return Nearer(0.5, 1.0, len(each))
    deviation = max(float(each.std()), 0.2)
    return Nearer(float(each.mean()), deviation / len(each) ** 0.5, len(each))


def halves(joint: Sequence[Tensor]) -> list[Pair]:
    """Split statistics (2N, K) of both views of batches into pairs (N, K) of matching rows.

    Views are even and odd rows or halves; the list is empty if neither has clearly nearer rows.
    """
    even = [rows for rows in joint if len(rows) % 2 == 0]
    found = [[(rows[::2], rows[1::2]) for rows in even]]
    found += [[(rows[: len(rows) // 2], rows[len(rows) // 2 :]) for rows in even]]
    return next((pairs for pairs in found if nearer(pairs).is_clear), [])
