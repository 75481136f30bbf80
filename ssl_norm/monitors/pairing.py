"""Search for views of one image among the outputs of a projector, by the similarity of rows."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, product
from math import gcd
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from ssl_norm.distributed import HostCopy, is_distributed, on_device, world_size
from ssl_norm.monitors.normalized import directions

_MOST_VIEWS = 16  # in one call
_WIDTH = 128  # wider embeddings are projected to this width
_FEWEST_ROWS = 64  # with fewer rows, the standard error of a match is not reliable
_SIGNIFICANT = 6.0  # standard errors; two views match if their match is larger
_SURE = 3.0  # standard errors of the bounds of a match
# Two views do not match if their upper bound is below this share of the largest match of one
# network.
_FOREIGN_SHARE = 1 / 3
# If there are matches only between the two networks, the bound is at most this share of the match
# of equal views: both networks may have seen the same crop, so other views may match much less.
_FOREIGN = 0.02
_SAME = 0.999  # from this share on, two views of one network are one view, computed twice
_MOST_IMAGES, _MOST_STEPS = 6400, 20  # if these show no form, a loop is unclear
_RARELY = 20  # interval of the tested steps of an unclear loop
_LATER = 4  # steps after which sums of a GPU are read, so that it never runs out of work


class Form(NamedTuple):
    """Views in the calls of a step, those of the online projector first.

    Consecutive rows of interleaved calls are the views of one image; otherwise all rows of view 1
    come first. Pairs are (online, target) or two online views, as indices of views in the order of
    the calls.
    """

    views: tuple[int, ...]  # number of views in each call
    interleaved: bool
    pairs: tuple[tuple[int, int], ...]
    matched: bool  # whether each pair shows the same images; False: one view, paired with itself

    def take(self, calls: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return the pairs of views in the calls of a step, online ones first."""
        flat = _split(calls, self.views, self.interleaved)
        return [(flat[first], flat[second]) for first, second in self.pairs]


class Pairing:
    """Measure which rows of the outputs of projectors are views of the same images.

    Two views of an image are nearer to each other than to other images, in expectation. The match
    of two views measures this difference. Over the first steps, it is compared with its standard
    error under random permutations of the rows. Every form is tested: a call may hold one view, or
    up to 16 views of equal size, one after the other or interleaved. The form with the most views
    is accepted once its views match by 6 standard errors, and all forms with more views are
    excluded. A form is excluded if its views match less than a third as much as other views. Calls
    on other images, and calls that repeat another, are ignored. If a view of one network is
    certainly nearest to one view of the other network, both are the same crop and are not paired;
    if nearest views are not certain, online views are paired with each other. Steps with other
    calls, such as a log every 100 steps, are tested separately.

    A CPU judges the sums of a step at once. On a GPU, they are copied while training goes on, and
    judged four steps later, which is the same number on every rank.

    Consecutive images of one class, as in sorted data, may count as views; `joint` prevents this.
    If all rows are equal, no views match; all cosines are then 1 with any form.

    Args:
        joint: True: each call holds two views, all of view 1 first; False: each call holds one
            view; None: measured.
    """

    def __init__(self, joint: bool | None = None) -> None:
        self._joint = joint
        self._forms: dict[tuple[int, ...], Form] = {}
        self._evidence: dict[tuple[int, ...], _Evidence] = {}

    def form(self, online: Sequence[Tensor], target: Sequence[Tensor] = ()) -> Form:
        """Return the form of a step's calls, derived from this and all earlier steps.

        In a process group, this is a collective call until the form is known.

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
            raise ValueError(
                f"expected calls of the online projector, all of one width; got {shapes}; "
                "target='none' leaves the target out"
            )
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
        """Return whether steps of one kind have shown no form in 6,400 images, or 20 steps."""
        return any(evidence.is_unclear for evidence in self._evidence.values())

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a run needs to resume exactly, as plain values and tensors."""
        return {
            "forms": [[list(kind), list(form)] for kind, form in self._forms.items()],
            "evidence": [
                [
                    list(kind),
                    found.steps,
                    found.images,
                    [[*key, s] for key, s in found.sums.items()],
                    [copy.read() for copy in found.pending],
                ]
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
            tuple(kind): _Evidence(
                steps,
                images,
                {(views, order): sums for views, order, sums in found},
                [HostCopy(sums) for one in pending for sums in one],
            )
            for kind, steps, images, found, *pending in state["evidence"]
        }


class _Match(NamedTuple):
    """Match of the rows of two views, as a share of that of equal views; of pairs, or pooled."""

    share: Tensor
    error: Tensor
    rows: Tensor

    @property
    def is_sure(self) -> Tensor:
        return (self.share > _SIGNIFICANT * self.error) & (self.rows >= _FEWEST_ROWS)

    def is_below(self, bound: float) -> Tensor:
        """Return the views that certainly match less than the bound."""
        return ~self.is_sure & (self.share + _SURE * self.error < bound)

    def is_above(self, bound: float) -> Tensor:
        """Return the views that match, and certainly more than the bound."""
        return self.is_sure & (self.share - _SURE * self.error > bound)

    def largest(self, pairs: Tensor) -> float:
        """Return the largest sure match of some pairs of views; 0 without one."""
        return float(self.share.where(self.is_sure & pairs, self.share.new_zeros(())).max())

    def upper(self, pairs: Tensor) -> float:
        """Return the upper bound of the matches of some pairs of views; 0 without pairs."""
        most = self.share + _SURE * self.error
        return float(most.where(pairs, most.new_zeros(())).max())


class _Tested(NamedTuple):
    """A form with the matches of its views; online views come first."""

    views: tuple[int, ...]
    interleaved: bool
    online: int
    sums: Tensor

    @property
    def match(self) -> _Match:
        return _match(self.sums)

    @property
    def is_one_network(self) -> Tensor:
        return ~self.is_both_networks & ~torch.eye(len(self.is_both_networks), dtype=torch.bool)

    @property
    def is_both_networks(self) -> Tensor:
        is_online = torch.arange(sum(self.views)) < self.online
        return is_online != is_online[:, None]

    @property
    def is_repeated(self) -> Tensor:
        """Pairs (V, V) of a view with itself, computed twice by one network."""
        return self.is_one_network & self.match.is_sure & (self.match.share > _SAME)

    @property
    def tells(self) -> Tensor:
        """Pairs (V, V) of different views, which show how well views of one image match."""
        return self.is_one_network & ~self.is_repeated

    def pooled(self, group: Tensor) -> _Match:
        """Return the match (V,) of each view with a group of views."""
        return _match(self.sums[:, :, group].sum(-1))

    def within_calls(self) -> list[_Match]:
        """Return the match of the views of one call, pooled over pairs at equal distance."""
        by_lag: dict[int, list[Tensor]] = {}
        first = 0
        for count in self.views:
            for a, b in combinations(range(first, first + count), 2):
                by_lag.setdefault(b - a, []).append(self.sums[:, a, b])
            first += count
        return [_match(torch.stack(pairs).sum(0)) for pairs in by_lag.values()]


class _Evidence:
    """Matches of the views of every form, summed over the steps of one kind."""

    def __init__(
        self,
        steps: int = 0,
        images: int = 0,
        sums: dict[tuple[int, bool], Tensor] | None = None,
        pending: Sequence[HostCopy] = (),
    ) -> None:
        self.steps = steps
        self.images = images
        self.sums = sums or {}  # by form, on the device of the embeddings
        self.pending = deque(pending)  # their copies of the last steps, not judged yet

    @property
    def is_unclear(self) -> bool:
        return self.steps >= _MOST_STEPS and self.images >= _MOST_IMAGES

    def add(self, online: int, calls: Sequence[Tensor]) -> Form | None:
        rows = [len(call) for call in calls]
        if min(rows) == 1:  # no other rows to compare with
            return None
        self.steps += 1
        if self.is_unclear and self.steps % _RARELY:
            return None
        common = gcd(*rows)
        self.images += common * world_size()
        narrow = [_narrow(call) for call in calls]
        forms = list(_forms(common, len(calls)))
        for finest, interleaved in forms:
            views = tuple(count * finest // common for count in rows)
            sums = _sums_of_matches(torch.stack(_split(narrow, views, interleaved)))
            if is_distributed():
                distributed.all_reduce(sums)
            key = finest, interleaved
            self.sums[key] = sums + self.sums[key].to(sums) if key in self.sums else sums
        return self._judge(online, rows, forms)

    def _judge(
        self, online: int, rows: Sequence[int], forms: Sequence[tuple[int, bool]]
    ) -> Form | None:
        """Return the form by the sums of this step, or on a GPU of some steps before."""
        flat = torch.cat([self.sums[form].flatten() for form in forms])
        self.pending.append(HostCopy(flat))
        if len(self.pending) <= (0 if flat.is_cpu else _LATER):
            return None
        known, tested = self.pending.popleft().read(), []
        for finest, interleaved in forms:
            views = tuple(count * finest // gcd(*rows) for count in rows)
            total = sum(views)
            sums, known = known[: 3 * total**2], known[3 * total**2 :]
            students = sum(views[:online])
            tested.append(_Tested(views, interleaved, students, sums.view(3, total, total)))
        return _found(tested)


def _found(tested: Sequence[_Tested]) -> Form | None:
    """Return the matching form with the most views, if all forms with more views are excluded."""
    bound = _bound(tested)
    for place, form in enumerate(tested):
        within = form.within_calls()
        if any(bool(lag.is_below(bound)) for lag in within):
            continue
        possible = max(other.match.upper(other.tells) for other in tested[place:])
        is_clear = all(bool(lag.is_above(_FOREIGN_SHARE * possible)) for lag in within)
        return _chosen(form, bound) if is_clear else None
    return None


def _bound(tested: Sequence[_Tested]) -> float:
    """Return the match below which two views do not show the same images; 0: not known."""
    of_one = max((form.match.largest(form.tells) for form in tested), default=0.0)
    if of_one:
        return _FOREIGN_SHARE * of_one
    of_both = max((form.match.largest(form.is_both_networks) for form in tested), default=0.0)
    return min(_FOREIGN_SHARE * of_both, _FOREIGN)


def _forms(common: int, calls: int) -> Iterator[tuple[int, bool]]:
    """Yield the forms, most views first: number of views in the smallest call, and interleaved."""
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


def _narrow(call: Tensor) -> Tensor:
    """L2-normalize rows, and project wide ones to 128 dimensions in the same way at all steps."""
    rows = directions(call)
    if rows.shape[1] <= _WIDTH:
        return rows
    return rows @ on_device(_projection(rows.shape[1]).to(rows.dtype), rows.device)


@lru_cache(maxsize=4)
def _projection(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(width, _WIDTH, generator=generator)


def _sums_of_matches(views: Tensor) -> Tensor:
    """Return three sums over rows for all pairs of views, (3, V, V), by which forms are found.

    They are the match, the match of equal views, and the number of rows.

    With centred rows, the match of views a and b is sum_i a_i . b_i. If the rows of b are permuted
    at random, its expectation is 0 and its variance sum_ij (a_i . b_j)^2 / (N - 1). Both matches
    are in units in which that variance is 1 for each row.
    """
    count = views.shape[1]
    centred = views - views.mean(1, keepdim=True)
    same = torch.einsum("aid,bid->ab", centred, centred)
    lengths = same.diagonal().sqrt()
    equal = lengths[:, None] * lengths
    covariance = torch.einsum("aid,aie->ade", centred, centred).flatten(1)
    variance = covariance @ covariance.T / (count - 1)
    is_told = equal > count * 1e-6
    unit = is_told * count**0.5 / variance.sqrt().where(is_told, equal.new_ones(()))
    return torch.stack([same * unit, equal * unit, is_told * float(count)])


def _match(sums: Tensor) -> _Match:
    match, equal, rows = sums
    share = (match / equal).where(rows > 0, match.new_zeros(()))
    error = (rows.sqrt() / equal).where(rows > 0, match.new_full((), torch.inf))
    return _Match(share, error, rows)


def _chosen(form: _Tested, bound: float) -> Form | None:
    group = _group(form)
    rest = ~group & ~form.pooled(group).is_below(bound)
    if not group.any() or rest.any():
        return None
    found = (group & ~form.is_repeated.tril(-1).any(1)).nonzero().flatten().tolist()
    students, teachers = ([v for v in found if (v < form.online) == own] for own in (True, False))
    pairs = _crossed(form.match, students, teachers) or list(combinations(students, 2))
    return Form(form.views, form.interleaved, tuple(pairs), True) if pairs else None


def _group(form: _Tested) -> Tensor:
    """Return the mask (V,) of views that show the images of the first online call with a match.

    Further views join the group if they match it on average.
    """
    call = torch.repeat_interleave(torch.arange(len(form.views)), torch.tensor(form.views))
    in_one_call = (call == call[:, None]).fill_diagonal_(False)
    matches = in_one_call | form.match.is_sure & (form.tells | form.is_both_networks)
    first = matches[: form.online].any(1)
    group = torch.zeros(len(call), dtype=torch.bool)
    if not first.any():
        return group
    start = int(first.to(torch.uint8).argmax())
    joining = matches[start]
    joining[start] = True
    while joining.any():
        group |= joining
        joining = form.pooled(group).is_sure & ~group
    return group


def _crossed(
    match: _Match, students: Sequence[int], teachers: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the pairs of views of both networks that are certainly not the same crop."""
    if len(students) > 1:
        nearest = {teacher: _nearest(match, teacher, students) for teacher in teachers}
        known = [teacher for teacher in teachers if nearest[teacher] is not None]
        return [pair for pair in product(students, known) if pair[0] != nearest[pair[1]]]
    same = [_nearest(match, student, teachers) for student in students]
    if len(teachers) > 1 and None in same:
        return []
    return [pair for pair in product(students, teachers) if pair[1] not in same]


def _nearest(match: _Match, view: int, others: Sequence[int]) -> int | None:
    """Return the one of `others` that certainly matches a view most, or None if this is unclear.

    The standard error of a match shrinks towards 1 like that of a correlation.
    """
    share = match.share[view, others]
    error = match.error[view, others] * (1 - share.square())
    nearest = int(share.argmax())
    margin = (share[nearest] - share) / (error[nearest].square() + error.square()).sqrt()
    margin[nearest] = torch.inf
    return others[nearest] if len(others) > 1 and bool((margin > _SIGNIFICANT).all()) else None


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
