"""Search for the projectors of a foreign network, by name."""

from collections.abc import Sequence
from itertools import islice

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ssl_norm.models.checkpoint_prefixes import ONLINE_WORDS, TARGET_WORDS, names_target
from ssl_norm.models.stages import layers_of
from ssl_norm.names import unknown_name

_PROJECTORS = (
    "projection_head",  # lightly
    "projector",  # solo-learn, byol-pytorch, VICReg, Barlow Twins
    "projection",  # lightning-bolts
    "projection_mlp",
    "projection_model",  # imbue
    "head",  # DINO
)
_PREDICTORS = ("prediction_head", "predictor", "prediction", "prediction_mlp", "prediction_model")
_ENCODERS = ("backbone", "encoder", "base_encoder", "model")
_LISTED = 10  # candidates in an error


def find_projectors(
    network: nn.Module, online: str | None = None, target: str | None = None
) -> dict[str, str]:
    """Return the names of a network's projectors, as `online` and, with a target, `target`.

    A usual name (`projection_head`, `projector`, ...) counts at any depth, with or without a prefix
    or suffix for its role (`projection_head_momentum`, `teacher_head`, `target_encoder.projector`).
    A module that only holds the parts of both roles (`projector.student`, `projector.teacher`) is
    replaced by them. One linear layer named `head` in an encoder is a classifier, and left out.

    Args:
        network: the foreign network.
        online: name of the submodule; None: the first one with a usual name.
        target: name of the EMA projector; None: the one named like the online projector, otherwise
            the first with a usual name, if any; `none`: leave it out.

    Raises:
        ValueError: no submodule has this name, or a usual one; the message lists candidates.
    """
    heads = (
        path
        for path, module in network.named_modules()
        if path and path.count(".") < 2 and _ends_in_linear(module)
    )
    candidates = list(islice(heads, _LISTED))
    if online is None:
        online = _find_part(network, _PROJECTORS)
    if online is None:
        raise ValueError(
            f"{type(network).__name__} has no projector under a usual name "
            f"({', '.join(_PROJECTORS)}): name it by online='NAME'; submodules that end in a "
            f"linear layer: {', '.join(candidates) or 'none'}"
        )
    if target is None:
        target = _find_part(network, (_kind(online), *_PROJECTORS), of_target=True)
    names = {"online": online} | ({} if target in (None, "none") else {"target": target})
    modules = dict(network.named_modules())
    for role, name in names.items():
        if name not in modules:
            raise ValueError(f"{role}: {unknown_name('submodule', name, candidates)}")
    return names


def find_layers(network: nn.Module, projector: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of encoder and heads by name, like :func:`ssl_norm.monitors.layers_of`.

    The network has an encoder, and perhaps a predictor, under usual names.

    Raises:
        ValueError: no encoder under a usual name.
    """
    encoder = _find_part(network, _ENCODERS, without=projector)
    if encoder is None:
        raise ValueError(
            f"{type(network).__name__} has no encoder under a usual name ({', '.join(_ENCODERS)}): "
            "pass the layers by name, as in layers={'encoder': network.NAME}"
        )
    predictor = _find_part(network, _PREDICTORS)
    head = None if predictor is None else network.get_submodule(predictor)
    return layers_of(network.get_submodule(encoder), projector, head)


def _find_part(
    network: nn.Module,
    kinds: Sequence[str],
    *,
    of_target: bool = False,
    without: nn.Module | None = None,
) -> str | None:
    """Return the name of the outermost submodule of the first kind in `kinds` that occurs, or None.

    The search is in the target network, or only outside of it. Modules that contain `without` are
    excluded; if it is None, modules must end in a linear layer.
    """
    found = []
    for order, (path, module) in enumerate(network.named_modules()):
        is_head = _ends_in_linear(module)
        fits = is_head if without is None else all(part is not without for part in module.modules())
        fits = fits and not _holds_roles(module) and not _is_classifier(path, module)
        if path and fits and _kind(path) in kinds and names_target(path) == of_target:
            found.append((kinds.index(_kind(path)), path.count("."), order, path))
    return min(found)[-1] if found else None


def _kind(path: str) -> str:
    """Return the last part of a name that names more than a role, without the words for roles."""
    return next(filter(None, map(_without_role, reversed(path.split(".")))), "")


def _without_role(part: str) -> str:
    return "_".join(word for word in part.split("_") if word not in ONLINE_WORDS | TARGET_WORDS)


def _holds_roles(module: nn.Module) -> bool:
    """Return whether all parts of a module are named by roles, as in a wrapper of a student."""
    names = [name for name, _ in module.named_children()]
    return bool(names) and not any(map(_without_role, names))


def _is_classifier(path: str, module: nn.Module) -> bool:
    """Return whether a module is the classifier of an encoder, as of timm's transformers."""
    *above, name = map(_without_role, path.split("."))
    encoders = set(_ENCODERS) - {"model"}
    return isinstance(module, nn.Linear) and name == "head" and not encoders.isdisjoint(above)


def _ends_in_linear(module: nn.Module) -> bool:
    """Return whether the last layer with a weight matrix is linear: the output is (N, D)."""
    layers = [part for part in module.modules() if isinstance(part, nn.Linear | _ConvNd)]
    return bool(layers) and isinstance(layers[-1], nn.Linear)
