"""Checks of a training loop for known bugs: functions from a record to a state and a line.

A check declares a repair and a source, and its docstring states the condition. `fail` means a bug,
`warn` a likely bug, and `not checked` that an input is missing, which the line names.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, islice
from math import comb
from random import Random
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ssl_norm.checkup.record import Record, is_synchronized, nearer, tensors_of
from ssl_norm.monitors.normalized import directions
from ssl_norm.monitors.projectors import find_projectors
from ssl_norm.monitors.rank import effective_rank
from ssl_norm.monitors.spread import feature_std
from ssl_norm.text import counted

State = Literal["pass", "warn", "fail", "not checked"]
Finding = tuple[State, str]


class Check(NamedTuple):
    """A check that :func:`check` registered; `meaning` is the condition that it checks."""

    name: str
    meaning: str
    repair: str
    source: str
    find: Callable[[Record], Finding]


CHECKS: dict[str, Check] = {}
MISSING = {
    "targets": "no target network was found; name it by target='NAME', after the loop has made it",
    "optimizers": "no optimizer was found; give it by optimizer=...",
    "views_from": "two views were not found; give them by views=(view1, view2)",
    "pixels": "the model had no floating-point views as input",
    "labels": "the labels of the batches are unknown; pass labels=... to ssl_norm.doctor",
    "graded": "no parameter got a gradient",
}
_SCHEDULE = re.compile("ema|decay|momentum|tau|beta|progress|step|update|iter|epoch")


def check(
    needs: str, repair: str, source: str
) -> Callable[[Callable[[Record], Finding]], Callable[[Record], Finding]]:
    """Register a function as a check under its name; it needs attributes in `MISSING`.

    The repair makes the condition hold; the source is such a bug, or a publication of the reason.
    """

    def declare(find: Callable[[Record], Finding]) -> Callable[[Record], Finding]:
        def found(record: Record) -> Finding:
            missing = [name for name in needs.split() if not getattr(record, name)]
            return ("not checked", MISSING[missing[0]]) if missing else find(record)

        meaning = (find.__doc__ or "").rstrip(".")
        CHECKS[find.__name__] = Check(find.__name__, meaning, repair, source, found)
        return found

    return declare


@check(
    "targets",
    "copy the online network, target = copy.deepcopy(online)",
    "https://arxiv.org/abs/2006.07733 (section 3.1)",
)
def target_is_a_copy(record: Record) -> Finding:
    """The target shares no memory with the online network."""
    sides: tuple[dict[int, str], dict[int, str]] = {}, {}
    for name, tensor in tensors_of(record.parts).items():
        if tensor.numel():
            place = tensor.untyped_storage().data_ptr()
            sides[record.in_target(name)].setdefault(place, name)
    shared = [(sides[0][place], name) for place, name in sides[1].items() if place in sides[0]]
    if shared:
        online, target = shared[0]
        return "fail", f"{counted(len(shared), 'tensor')} shared, such as {target} with {online}"
    return "pass", f"{', '.join(record.targets)}: no tensor is shared with the online network"


@check(
    "targets",
    "update the target after every optimizer step: target = m target + (1 - m) online, m near 1",
    "https://github.com/conradry/pixpro-with-weights/issues/2",
)
def target_moves(record: Record) -> Finding:
    """The target follows the online network, slowly."""
    target, online = (record.parameters(target=side) for side in (True, False))
    if not any(map(record.moved, online)):
        return "not checked", f"the online network did not change in {_steps(record)}"
    moved = [name for name in target if record.moved(name)]
    if not moved:
        return "fail", f"in {_steps(record)}, the online network changed but not the target"
    still = [root for root in record.targets if not any(n.startswith(f"{root}.") for n in moved)]
    if still:
        return "warn", f"a part of the target did not change in {_steps(record)}: {_few(still)}"
    decay = median(record.decays) if record.decays else None
    if decay is not None and decay < 0.5:
        return "warn", f"the target keeps only {decay:.3g} of its value in a step; swapped factors?"
    return "pass", "it changes" + ("" if decay is None else f", and keeps {decay:.4g} of its value")


@check(
    "targets",
    "compute the target under torch.no_grad(), or target.requires_grad_(False)",
    "https://github.com/lhoyer/DAFormer/issues/59",
)
def target_without_gradients(record: Record) -> Finding:
    """No gradient reaches the target."""
    target = record.parameters(target=True)
    reached = [name for name, p in target.items() if id(p) in record.graded]
    if reached:
        return "fail", f"{len(reached)} of {len(target)} parameters get gradients: {_few(reached)}"
    return "pass", f"none of {len(target)} parameters got a gradient in {_steps(record)}"


@check(
    "graded",
    "set the frozen part to evaluation after every model.train(), by encoder.eval()",
    "https://github.com/kdexd/virtex/issues/16",
)
def frozen_statistics(record: Record) -> Finding:
    """Running statistics of frozen parts do not change."""
    online = record.parameters(target=False)
    still = {n for n, p in online.items() if id(p) not in record.graded and not record.moved(n)}
    frozen, moving = 0, []
    for name, norm in record.batch_norms().items():
        owner = name
        while not (own := [n for n in online if n.startswith(f"{owner}.")]) and owner:
            owner = owner.rpartition(".")[0]
        if owner and still.issuperset(own):
            frozen += 1
            moving += [name] * any(record.moved(f"{name}.{key}") for key in norm._buffers)
    if moving:
        count = counted(len(moving), "frozen batch norm")
        return "fail", f"{count} with changing statistics: {_few(moving)}"
    return "pass", f"{counted(frozen, 'frozen batch norm')}" + (", none changes" if frozen else "")


@check(
    "",
    "look for constant inputs and for dead or zero-initialized layers; add a norm to the projector",
    "https://arxiv.org/abs/2110.09348",
)
def rank_at_start(record: Record) -> Finding:
    """Outputs of the untrained network vary between images, along several dimensions."""
    try:
        name = find_projectors(record.parts[""], target="none")["online"]
    except ValueError:
        name = ""
    if name not in record.outputs:
        name = next(reversed(record.outputs), "")
    rows = record.outputs.get(name, torch.empty(0))
    if len(rows) < 4:
        return "not checked", "no module has outputs (N, D) with N >= 4"
    name = name or type(record.parts[""]).__name__
    if not rows.isfinite().all():
        return "fail", f"{name}: outputs are not finite before the first step"
    spread = float(feature_std(rows))
    rank, most = float(effective_rank(directions(rows))), min(len(rows) - 1, rows.shape[1])
    line = f"{name}: effective rank {rank:.1f} of {most}, relative spread {spread:.2g}"
    if spread < 1e-4:
        return "fail", f"{line}: all outputs are equal"
    return ("warn" if rank < 2 or spread < 0.01 else "pass"), line


@check(
    "optimizers graded",
    "give the optimizer every trainable parameter once, and no part without gradients",
    "https://github.com/CIntellifusion/GeometryForcing/issues/13",
)
def optimizer_parameters(record: Record) -> Finding:
    """The optimizer has all parameters that get gradients, and no others."""
    groups = [group for optimizer in record.optimizers for group in optimizer.param_groups]
    held = {id(p): p for group in groups for p in group["params"]}
    known = {**record.parameters(target=True), **record.parameters(target=False)}
    names = {id(p): name for name, p in known.items()}
    missing = [names[key] for key in names if key in record.graded and key not in held]
    if missing:
        count = counted(len(missing), "parameter")
        return "fail", f"it lacks {count} with gradients: {_few(missing)}"
    idle = [key for key, p in held.items() if p.requires_grad and key not in record.graded]
    if idle:
        listed = _few([names.get(key, "unnamed") for key in idle])
        return "warn", f"{len(idle)} of its parameters got no gradient: {listed}"
    return "pass", f"it has all {len(record.graded)} parameters that get gradients"


@check(
    "",
    "draw a new augmentation for each view, with a different random state in each worker",
    "https://github.com/facebookresearch/DepthContrast/issues/14",
)
def views_differ(record: Record) -> Finding:
    """The two views of an image have different pixels."""
    if record.identical == "online":
        return "fail", "both views are equal in all pixels"
    if record.identical:
        return "warn", "the target gets the same pixels, which is right only for masked prediction"
    if not record.views_from:
        return "not checked", MISSING["views_from"]
    return "pass", f"the views of {counted(len(record.views), 'step')} differ"


@check(
    "views_from",
    "take both views from one loader, because two loaders shuffle differently",
    "https://github.com/sayakpaul/SimSiam-TF/issues/1",
)
def views_match(record: Record) -> Finding:
    """Rows with one number in both views are of the same image."""
    found = nearer(record.views)
    line = (
        f"matching rows are nearer than others in {found.share:.0%} of comparisons "
        f"({found.rows} rows, chance 50 %)"
    )
    if found.is_clear:
        return "pass", line
    if record.views_from == "target":
        reason = "rows of the target may be shuffled: give views=(view1, view2)"
        return "not checked", f"{line}; {reason}"
    if found.share + 3 * found.error < 0.6:
        return "fail", line
    return "not checked", f"{line}: too few rows or too strong augmentation to decide"


@check(
    "pixels",
    "divide pixels by 255, then subtract the mean and divide by the deviation of your data",
    "https://github.com/Cadene/pretrained-models.pytorch/issues/66",
)
def pixels_normalized(record: Record) -> Finding:
    """Pixels have about mean 0 and deviation 1."""
    table = [view for view in record.pixels if len(view) == len(record.pixels[0])]
    low, high = min(float(t[0]) for t in table), max(float(t[1]) for t in table)
    means, stds = torch.stack([t[2:] for t in table]).mean(0).chunk(2)
    text = f"mean {_listed(means)}, deviation {_listed(stds)}, values {low:.3g} to {high:.3g}"
    if high > 30 or not torch.stack(table).isfinite().all() or stds.max() < 1e-3:
        return "fail", text
    is_off = means.abs().max() > 2 or stds.max() < 0.3 or stds.max() > 4
    return ("warn" if is_off else "pass"), text


@check(
    "targets",
    "keep the number in a buffer, or save it in the checkpoint and restore it",
    "https://github.com/lightly-ai/lightly-train/pull/892",
)
def ema_resumes(record: Record) -> Finding:
    """State dicts restore the decay of the target and the progress of its schedule."""
    if record.load_error:
        return "fail", f"the state dict after {_steps(record)} does not load: {record.load_error}"
    decays = record.decays or [1.0]
    is_scheduled = max(decays) - min(decays) > 0.02 * (1 - min(decays))
    if record.lost:
        is_named = any(_SCHEDULE.search(lost.lower()) for lost in record.lost)
        state: State = "fail" if is_scheduled or is_named else "warn"
        return state, f"lost on resume: {_few(record.lost)}"
    if len(decays) < 2:
        return "not checked", "the decay was not measurable: the target moved too little"
    if is_scheduled:
        course = f"decay {decays[0]:.4g} to {decays[-1]:.4g}, from a number in your loop"
        return "not checked", f"{course}; check that checkpoints store it"
    return "pass", f"decay {decays[0]:.4g} in all steps, and no number of a module is lost"


@check(
    "",
    "use larger batches per process, a norm without batch statistics in heads, or SyncBatchNorm",
    "https://github.com/lucidrains/byol-pytorch/issues/62",
)
def batch_of_statistics(record: Record) -> Finding:
    """Batch norms compute their statistics of enough values per channel."""
    if not record.values:
        return "pass", "no norm used batch statistics"
    name = min(record.values, key=lambda name: record.values[name])
    line = f"at least {counted(record.values[name], 'value')} per channel, in {name}"
    if record.values[name] <= 2:
        return "fail", f"{line}: two values always become -1 and 1"
    return ("warn" if record.values[name] < 8 else "pass"), line


@check(
    "",
    "torch.nn.SyncBatchNorm.convert_sync_batchnorm(model), or MoCo's shuffled keys",
    "https://github.com/google-research/simclr/issues/114",
)
def synchronized_statistics(record: Record) -> Finding:
    """With several processes, batch norms share their statistics."""
    if record.processes == 1:
        repair = "start the check with torchrun, as you start the training"
        return "not checked", f"there is one process; {repair}"
    norms = {n: norm for n, norm in record.batch_norms().items() if n in record.values}
    apart = [name for name, norm in norms.items() if not is_synchronized(norm)]
    if apart:
        return "warn", f"{len(apart)} batch norms have statistics per process: {_few(apart)}"
    return "pass", f"{counted(len(norms), 'batch norm')}, all synchronized"


@check(
    "labels",
    "shuffle the data, because batch statistics reveal the classes of a batch to the network",
    "https://github.com/ultralytics/yolov5/issues/2582",
)
def mixed_batches(record: Record) -> Finding:
    """Batches have the classes in random proportions."""
    pooled = list(chain(*record.labels))
    sizes = [len(labels) for labels in record.labels]
    classes = len(set(pooled))
    if classes < 2 or classes == len(pooled) or len(sizes) < 2:
        return "not checked", f"{counted(classes, 'class')} in {counted(len(pooled), 'image')}"
    chance, dice = [], Random(0)
    for _ in range(200):
        shuffled = iter(dice.sample(pooled, len(pooled)))
        chance.append(_purity([list(islice(shuffled, size)) for size in sizes]))
    found = _purity(record.labels)
    line = f"{found:.0%} of pairs in a batch share a class, {fmean(chance):.0%} after shuffling"
    if found <= max(chance) + 0.02:
        return "pass", line
    return ("fail" if record.values else "warn"), line


def _purity(batches: Sequence[Sequence[Any]]) -> float:
    """Return the probability that two images of a batch share a class, averaged over batches."""
    return fmean(
        sum(comb(count, 2) for count in Counter(labels).values()) / max(1, comb(len(labels), 2))
        for labels in batches
    )


def _steps(record: Record) -> str:
    return counted(record.steps, "step")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _listed(values: Tensor) -> str:
    return " ".join(f"{value:.2f}" for value in values.tolist()[:4])
