"""Search for views of one image among the outputs of a projector, by measuring which rows match."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from ssl_norm.distributed import is_distributed
from ssl_norm.monitors.normalized import directions

_MOST_VIEWS = 16  # in one call
_SIGNIFICANT = 6.0  # standard errors from which two views match ...
_FEWEST_ROWS = 64  # ... and rows, of which the error is known
# Views that surely match less than this do not match: a share of the largest match, and of what is
# possible, since the largest may be that of the same crop in both networks.
_FOREIGN_SHARE, _FOREIGN = 0.5, 0.1
_SURE = 3.0  # standard errors
_MOST_STEPS = 100  # without a result, after which a loop is unclear, and ...
_RARELY = 20  # ... only every 20th step is tested


class Form(NamedTuple):
    """Views in the calls of a step.

    Attributes:
        views: number of views in each call, those of the online projector first.
        interleaved: whether consecutive rows of a call are the views of one image; otherwise all
            rows of view 1 come first.
        pairs: (online, target) or two online views, as numbers of views in the order of the calls.
        matched: whether each pair shows the same images; false: one view, paired with itself.
    """

    views: tuple[int, ...]
    interleaved: bool
    pairs: tuple[tuple[int, int], ...]
    matched: bool

    def take(self, calls: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return the pairs of views in the calls of a step, online ones first."""
        flat = _split(calls, self.views, self.interleaved)
        return [(flat[first], flat[second]) for first, second in self.pairs]


class Pairing:
    """Measure which rows of the outputs of projectors are views of the same images.

    Two views of an image are nearer to each other than to other images, in expectation. Over the
    first steps every form is tested: each call as one view or as up to 16 of equal size, one after
    the other or interleaved. The form with the most views is taken once its views match by 6
    standard errors, and the forms with more views are excluded. Calls on other images match nothing
    and are ignored. The online view nearest to a target's view is the same crop, and not paired
    with it. Steps with other calls, as for a log every 100 steps, are tested separately.

    If all rows are equal, nothing matches; then all cosines are 1 in any case.

    Args:
        joint: True: each call holds two views, all of view 1 first; False: each call holds one
            view; None: measured.
    """

    def __init__(self, joint: bool | None = None) -> None:
        self._joint = joint
        self._forms: dict[tuple[int, ...], Form] = {}
        self._evidence: dict[tuple[int, ...], _Evidence] = {}

    def form(self, online: Sequence[Tensor], target: Sequence[Tensor] = ()) -> Form:
        """Return the form of a step's calls, judged by this and all earlier steps.

        In a process group this is collective until the form is known.

        Args:
            online: outputs (R, D) of the calls of the online projector, in order.
            target: those of the target network; empty without one.

        Returns:
            The form; until it is known, one view paired with itself.

        Raises:
            ValueError: no online call, outputs of different widths, or calls that `joint` excludes.
        """
        calls = [*online, *target]
        if not online or len({call.shape[1] for call in calls}) > 1:
            shapes = ", ".join(str(tuple(call.shape)) for call in calls)
            raise ValueError(f"calls of the online projector, of one width, expected; got {shapes}")
        if self._joint is not None:
            return _given(len(online), calls, self._joint)
        common = gcd(*map(len, calls))
        kind = (len(online), *(len(call) // common for call in calls))
        if kind not in self._forms:
            evidence = self._evidence.setdefault(kind, _Evidence())
            found = evidence.add(len(online), calls)
            if found is None:
                return Form((1,) * len(calls), False, ((0, 0),), False)
            self._forms[kind] = found
            del self._evidence[kind]
        return self._forms[kind]

    @property
    def is_unclear(self) -> bool:
        """Return whether steps of one kind have shown no form in 100 steps."""
        return any(evidence.steps >= _MOST_STEPS for evidence in self._evidence.values())

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a run needs to resume exactly, as plain values and tensors."""
        return {
            "forms": [[list(kind), list(form)] for kind, form in self._forms.items()],
            "evidence": [
                [list(kind), found.steps, [[*key, sums] for key, sums in found.sums.items()]]
                for kind, found in self._evidence.items()
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        self._forms = {
            tuple(kind): Form(tuple(views), interleaved, tuple(map(tuple, pairs)), matched)
            for kind, (views, interleaved, pairs, matched) in state["forms"]
        }
        self._evidence = {
            tuple(kind): _Evidence(steps, {(views, order): sums for views, order, sums in found})
            for kind, steps, found in state["evidence"]
        }


class _Match(NamedTuple):
    """Mean excess (V, V) of matches over other rows between two views, its error, and rows."""

    mean: Tensor
    error: Tensor
    rows: Tensor
    possible: Tensor  # the match of equal views

    def __bool__(self) -> bool:
        return bool(self.matches.any())

    @property
    def matches(self) -> Tensor:
        is_sure = (self.mean > _SIGNIFICANT * self.error) & (self.rows >= _FEWEST_ROWS)
        return is_sure & (self.mean > 1e-6)

    @property
    def bound(self) -> float:
        """The match below which two views show different images; 0 if nothing matches."""
        mean = self.mean.where(self.matches, torch.zeros_like(self.mean)).flatten()
        most = mean.argmax()
        return float(min(_FOREIGN_SHARE * mean[most], _FOREIGN * self.possible.flatten()[most]))

    def is_foreign(self, bound: float) -> Tensor:
        """Return the views that certainly match less than the bound."""
        return ~self.matches & (self.mean + _SURE * self.error < bound)


class _Evidence:
    """Matches of the views of every form, summed over the steps of one kind."""

    def __init__(self, steps: int = 0, sums: dict[tuple[int, bool], Tensor] | None = None) -> None:
        self.steps = steps
        self.sums = sums or {}

    def add(self, online: int, calls: Sequence[Tensor]) -> Form | None:
        """Return the form, once it is clear."""
        self.steps += 1
        if self.steps > _MOST_STEPS and self.steps % _RARELY:
            return None
        rows = [len(call) for call in calls]
        common = gcd(*rows)
        tested = []
        for finest, interleaved in _forms(common, len(calls)):
            views = tuple(count * finest // common for count in rows)
            flat = torch.stack([directions(view) for view in _split(calls, views, interleaved)])
            sums = _over_ranks(_sums_of_matches(flat)).cpu()
            key = finest, interleaved
            self.sums[key] = self.sums[key] + sums if key in self.sums else sums
            tested.append((views, interleaved, self.sums[key]))
        if not tested:  # one image
            return None
        everything = [_match(sums) for _, _, sums in tested]
        bound = max(match.bound for match in everything)
        for (views, interleaved, sums), match in zip(tested, everything, strict=True):
            within = _within_calls(views, sums)
            if any(bool(lag.is_foreign(bound)) for lag in within):
                continue
            if not all(within):
                return None
            return _chosen(views, interleaved, sum(views[:online]), match, bound)
        return None


def _forms(common: int, calls: int) -> Iterator[tuple[int, bool]]:
    """Yield the forms by most views first: views in the smallest unit of a call, and their order."""
    for views in range(min(_MOST_VIEWS, common // 2), 0, -1):
        if common % views == 0 and (views > 1 or calls > 1):
            yield views, False
            if views > 1:
                yield views, True


def _split(calls: Sequence[Tensor], views: Sequence[int], interleaved: bool) -> list[Tensor]:
    """Return the views of all calls in their order, each (N, D)."""
    return [
        call[start::count] if interleaved else call.chunk(count)[start]
        for call, count in zip(calls, views, strict=True)
        for start in range(count)
    ]


def _sums_of_matches(views: Tensor) -> Tensor:
    """Return sums over rows for all pairs of views, (4, V, V): match, its square, 1, foreign cosine.

    The match of row i of views a and b is a_i . b_i - mean over j != i of a_i . b_j.
    """
    same = torch.einsum("aid,bid->abi", views, views)
    total = torch.einsum("aid,bd->abi", views, views.sum(1))
    foreign = (total - same) / (views.shape[1] - 1)
    match = same - foreign
    return torch.stack([match, match.square(), torch.ones_like(match), foreign]).sum(-1)


def _over_ranks(sums: Tensor) -> Tensor:
    if is_distributed():
        distributed.all_reduce(sums)
    return sums


def _match(sums: Tensor) -> _Match:
    mean, square = sums[0] / sums[2], sums[1] / sums[2]
    off_diagonal = ~torch.eye(len(mean), dtype=torch.bool) if mean.ndim else torch.tensor(True)
    error = ((square - mean.square()).clamp(min=0) / sums[2]).sqrt()
    mean = mean.where(off_diagonal, torch.zeros_like(mean))
    return _Match(mean, error, sums[2], 1 - sums[3] / sums[2])


def _within_calls(views: Sequence[int], sums: Tensor) -> list[_Match]:
    """Return the match of the views of one call, pooled over pairs at equal distance."""
    by_lag: dict[int, list[Tensor]] = {}
    first = 0
    for count in views:
        for a, b in combinations(range(first, first + count), 2):
            by_lag.setdefault(b - a, []).append(sums[:, a, b])
        first += count
    return [_match(torch.stack(pairs).sum(0)) for pairs in by_lag.values()]


def _chosen(
    views: tuple[int, ...], interleaved: bool, online: int, match: _Match, bound: float
) -> Form | None:
    """Return the form with its pairs of the first `online` views and the target's; None: unclear.

    All views are compared with the online one that has the most matches.
    """
    matches = match.matches
    reference = int(matches[:online].sum(1).argmax())
    same_call = torch.repeat_interleave(torch.arange(len(views)), torch.tensor(views))
    fits = matches[reference] | (same_call == same_call[reference])
    if not (fits | match.is_foreign(bound)[reference]).all():
        return None
    found = fits.nonzero().flatten().tolist()
    students = [view for view in found if view < online]
    pairs: list[tuple[int, int]] = []
    for teacher in found[len(students) :]:
        nearest = max(students, key=lambda view: float(match.mean[view, teacher]))
        others = [view for view in students if view != nearest or len(students) == 1]
        pairs += product(others, [teacher])
    pairs = sorted(pairs) or list(combinations(students, 2))
    return Form(views, interleaved, tuple(pairs), True) if pairs else None


def _given(online: int, calls: Sequence[Tensor], joint: bool) -> Form:
    """Return the form of calls that hold one view each, or two, all of view 1 first."""
    views = 2 if joint else 1
    rows = {len(call) for call in calls}
    students, teachers = views * online, views * (len(calls) - online)
    crossed = {(2, 2): ((0, 3), (1, 2)), (1, 1): ((0, 1),), (2, 0): ((0, 1),)}
    if len(rows) > 1 or max(rows) % views or (students, teachers) not in crossed:
        shapes = ", ".join(str(tuple(call.shape)) for call in calls)
        raise ValueError(
            f"joint={joint}: {online} online calls and {len(calls) - online} of the target, of "
            f"{shapes}, do not hold two views of the same images; without joint the form is "
            "measured; target='none' leaves the target out"
        )
    return Form((views,) * len(calls), False, crossed[students, teachers], True)
