"""State of a training loop, which is saved and later restored to the bit."""

import random
from collections import deque
from collections.abc import Callable
from dis import get_instructions
from functools import partial
from inspect import ismethod
from types import CellType, CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

OWNERS = (nn.Module, Optimizer, LRScheduler, GradScaler)  # their attributes are their state
SAVED = (*OWNERS, dict, list, Tensor, torch.Generator, np.random.Generator, np.random.RandomState,
         random.Random)  # fmt: skip


def home_of(step_fn: Any) -> str | None:
    """Return the name of the module that defines a function or the function of a `partial`."""
    return getattr(getattr(step_fn, "func", step_fn), "__module__", None)


def referred(step_fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the objects by name in closure and globals of a function, and in a method's object.

    Those that functions and objects of the same module refer to are included. If a name occurs
    twice, the object that is found first counts.
    """
    home = home_of(step_fn)
    found: dict[str, Any] = {"step_fn": step_fn}
    pending: list[Any] = [step_fn]
    for item in pending:  # the list grows in the loop
        for name, value in _names(item).items():
            found.setdefault(name, value)
            is_own = getattr(value, "__module__", None) == home and not isinstance(value, type)
            is_new = all(value is not other for other in pending)
            if is_new and (is_own or isinstance(value, partial) or ismethod(value)):
                pending.append(value)
    return found


def _global_names(code: CodeType) -> set[str]:
    """Return the global names in code, including its lambdas and comprehensions."""
    inside = [_global_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    own = {str(part.argval) for part in get_instructions(code) if "GLOBAL" in part.opname}
    return own.union(*inside)


def _names(item: Any) -> dict[str, Any]:
    """Return the names in a function, or the optimizers and public attributes of an object."""
    if isinstance(item, partial):
        arguments = {f"argument {number}": value for number, value in enumerate(item.args)}
        return {"function": item.func, **arguments, **item.keywords}
    if ismethod(item):
        return {"function": item.__func__, "self": item.__self__, **_names(item.__self__)}
    if isinstance(item, FunctionType):
        known = {name: item.__globals__[name] for name in _global_names(item.__code__)
                 if name in item.__globals__}  # fmt: skip
        cells = zip(item.__code__.co_freevars, item.__closure__ or (), strict=True)
        return {**known, **{name: cell.cell_contents for name, cell in cells if cell != CellType()}}
    attributes = getattr(item, "__dict__", {})
    return {k: v for k, v in attributes.items() if k[0] != "_" or isinstance(v, Optimizer)}


class SavedState:
    """Values of objects and of all random generators, which `restore` writes back in place.

    These are tensors with their gradients, modules, optimizers, schedulers and loss scalers with
    all attributes (modes, hooks, counters), containers, generators, and numbers in closures and
    globals of functions.
    """

    def __init__(self, *roots: Any) -> None:
        self._restores: dict[int, tuple[Any, Callable[[], object]]] = {}
        pending = list(roots)
        while pending:
            item = pending.pop()
            if isinstance(item, OWNERS):
                item = vars(item)
            if id(item) not in self._restores:
                restore, inside = _saved(item)
                self._restores[id(item)] = item, restore
                pending += inside
        legacy = np.random.get_state()  # noqa: NPY002
        self._random = random.getstate(), legacy, torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore(self) -> None:
        """Write all values back; may be called several times."""
        for _, restore in self._restores.values():
            restore()
        random.setstate(self._random[0])
        np.random.set_state(self._random[1])  # noqa: NPY002
        torch.set_rng_state(self._random[2])
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)


def _saved(item: Any) -> tuple[Callable[[], object], list[Any]]:
    """Return a function that restores an object, and the objects inside it."""
    if isinstance(item, Tensor):
        return _saved_tensor(item)
    if isinstance(item, np.random.RandomState):
        return partial(item.set_state, item.get_state(legacy=False)), []
    if isinstance(item, torch.Generator):
        return partial(item.set_state, item.get_state()), []
    if isinstance(item, random.Random) and not isinstance(item, random.SystemRandom):
        return partial(item.setstate, item.getstate()), []
    if isinstance(item, np.random.Generator):
        return partial(setattr, item.bit_generator, "state", item.bit_generator.state), []
    if isinstance(item, dict):
        return partial(_refill, item, dict(item)), [part for pair in item.items() for part in pair]
    if isinstance(item, list | set | deque):
        return partial(_refill, item, list(item)), list(item)
    if isinstance(item, FunctionType):
        named = {name: item.__globals__.get(name) for name in _global_names(item.__code__)}
        numbers = {name: value for name, value in named.items() if isinstance(value, int | float)}
        return partial(item.__globals__.update, numbers), list(item.__closure__ or ())
    if isinstance(item, CellType) and item != CellType():  # not empty
        value = item.cell_contents
        inside = [value] if isinstance(value, FunctionType) else []
        return partial(setattr, item, "cell_contents", value), inside
    return (lambda: None), list(item) if isinstance(item, tuple) else []


def _refill(container: Any, content: Any) -> None:
    container.clear()
    (container.update if isinstance(container, dict | set) else container.extend)(content)


def _saved_tensor(tensor: Any) -> tuple[Callable[[], None], list[Any]]:
    """Return a function that restores memory, values, gradient and hooks, and the gradient."""
    memory = tensor.data
    values = None if nn.parameter.is_lazy(tensor) else memory.clone()
    grad = tensor.grad if tensor.is_leaf else None
    needs, hooks = tensor.requires_grad, tensor._backward_hooks
    after_hooks = tensor._post_accumulate_grad_hooks

    def restore() -> None:
        if values is not None and tensor.data_ptr() != memory.data_ptr():
            tensor.data = memory
        if values is not None and 0 not in memory.stride():
            memory.copy_(values)
        if tensor.is_leaf:
            tensor.requires_grad_(needs)
            tensor.grad = grad
        tensor._backward_hooks, tensor._post_accumulate_grad_hooks = hooks, after_hooks

    return restore, [] if grad is None else [grad]
