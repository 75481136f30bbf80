"""Models whose norms cannot be replaced."""

from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.lazy import LazyModuleMixin

from ssl_norm.norms.spec import NormSpec
from ssl_norm.norms.swap.find import named_norms, unknown_norms

WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule")


def check_changeable(model: nn.Module, spec: NormSpec) -> list[tuple[str, nn.Module]]:
    """Return (name, layer) of every norm of a model whose norms can be replaced.

    Raises:
        ValueError: a part of the model would ignore the replacement, or there is no norm.
        TypeError: the model is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"the model must be an nn.Module, got {type(model).__name__}")
    for name, part in model.named_modules():
        reason = _reason(part)
        if reason:
            where = f"part '{name}'" if name else "the model"
            raise ValueError(f"{where}, {type(part).__name__}, {reason}")
    norms, kind = named_norms(model), type(model).__name__
    if any(layer is model for _, layer in norms):
        raise ValueError(f"the model is itself a norm layer, {kind}; make_norm builds another")
    if not norms and spec.name != "none":
        left = unknown_norms(model)
        hint = f"layers of unknown kind: {', '.join(left[:3])}" if left else "'none' describes it"
        raise ValueError(f"{kind} has no norm layer for '{spec}' to replace; {hint}")
    return norms


def _reason(part: nn.Module) -> str | None:
    """Return why a part with norms would ignore their replacement."""
    kinds = type(part).__mro__
    if isinstance(part, torch.jit.ScriptModule):
        return "is compiled TorchScript; replace the norms before torch.jit"
    if any(kind.__name__ in WRAPPERS for kind in kinds):
        return "has taken over the parameters; replace the norms before wrapping the model"
    if type(part).__module__.startswith("torch.ao.nn") and named_norms(part):
        return "is quantized, or fused for it; replace the norms before quantization"
    if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params():
        return "has seen no input yet; run one batch through the model first"
    if isinstance(part, fx.GraphModule):
        graph: Any = part.graph
        called = tuple(f"{node.target}." for node in graph.nodes if node.op == "call_module")
        for name, _ in named_norms(part):
            if not f"{name}.".startswith(called):
                return f"does not call its norm '{name}' as a module; replace norms before tracing"
    return None
