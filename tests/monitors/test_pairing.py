"""Search for the form of calls, on embeddings whose matching rows are known."""

import pytest
import torch

from ssl_norm.monitors.pairing import Pairing

D = 32
NONE = ((0, 0),)  # one view, paired with itself


def views(count, rows, *, noise=1.0):
    """Return views of the same images, near one direction as in a new network."""
    images = torch.randn(rows, D) + 3
    return [images + noise * torch.randn(rows, D) for _ in range(count)]


def seen_by_target(online):
    """Return embeddings of the same crops by a target."""
    return [view + 0.1 * torch.randn_like(view) for view in online]


def crossed(rows):
    online = views(2, rows)
    return online, seen_by_target(online)


def target_sees_view_2_first(rows):
    online, target = crossed(rows)
    return online, target[::-1]


def joint(rows):
    online, target = crossed(rows)
    return [torch.cat(online)], [torch.cat(target)]


def interleaved(rows):
    return [torch.stack(views(2, rows), 1).flatten(0, 1)], []


def other_images_third(rows):
    online, target = crossed(rows)
    return [*online, *views(1, rows)], target


def other_images_first(rows):
    online, target = crossed(rows)
    return [*views(1, rows), *online], target


def two_accumulated_batches(rows):
    (first, first_target), (second, second_target) = crossed(rows), crossed(rows)
    return first + second, first_target + second_target


def queries_and_keys(rows):
    query, key = views(2, rows)
    return [query], [key]


def global_and_local_crops_by_size(rows):
    crops = views(8, rows)
    return [torch.cat(crops[:2]), torch.cat(crops[2:])], [torch.cat(seen_by_target(crops[:2]))]


def global_and_local_crops_one_by_one(rows):
    crops = views(8, rows)
    return crops, seen_by_target(crops[:2])


def shuffled_keys(rows):
    query, key = views(2, rows)
    return [query], [key[torch.randperm(rows)]]


def one_view(rows):
    return views(1, rows), []


def all_rows_equal(rows):
    return [torch.ones(rows, D)] * 2, [torch.ones(rows, D)] * 2


def a_call_repeated(rows):
    """Projections computed again to be logged, and those of recomputed activations."""
    online, target = crossed(rows)
    return [online[0], *online, online[1]], target


def two_views_of_images_sorted_by_class(rows):
    classes = torch.randn(8, 1, D).expand(8, rows // 8, D).flatten(0, 1)
    return [torch.cat([view + classes / 2 for view in views(2, rows)])], []


def one_query_and_keys_of_both_views(rows):
    online, target = crossed(rows)
    return online[:1], target


EVERY_OTHER = ((0, 9), (1, 8), *((crop, teacher) for crop in range(2, 8) for teacher in (8, 9)))


FORMS = [
    (crossed, ((0, 3), (1, 2))),
    (target_sees_view_2_first, ((0, 2), (1, 3))),
    (joint, ((0, 3), (1, 2))),
    (interleaved, ((0, 1),)),
    (other_images_third, ((0, 4), (1, 3))),
    (other_images_first, ((1, 4), (2, 3))),
    (a_call_repeated, ((0, 5), (2, 4))),
    (two_accumulated_batches, ((0, 5), (1, 4))),
    (two_views_of_images_sorted_by_class, ((0, 1),)),
    (queries_and_keys, ((0, 1),)),
    (one_query_and_keys_of_both_views, ((0, 2),)),
    (global_and_local_crops_by_size, EVERY_OTHER),
    (global_and_local_crops_one_by_one, EVERY_OTHER),
]


@pytest.mark.parametrize("noise", [1.0, 4.0])  # 50 and 6 % of the variance of views match
@pytest.mark.parametrize(("calls", "pairs"), FORMS)
def test_the_form_is_found(calls, pairs, noise, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setitem(views.__kwdefaults__, "noise", noise)
    pairing = Pairing()
    for _ in range(100):
        form = pairing.form(*calls(64))
        if form.matched:
            break
    assert form.pairs == pairs
    assert not pairing.is_unclear


WITHOUT_VIEWS = [shuffled_keys, one_view, all_rows_equal]


@pytest.mark.parametrize("calls", WITHOUT_VIEWS)
def test_calls_without_two_views_are_unclear(calls):
    torch.manual_seed(0)
    pairing = Pairing()
    for step in range(1, 101):
        assert pairing.form(*calls(64)).pairs == NONE
        assert pairing.is_unclear == (step == 100)


@pytest.mark.parametrize("rows", [4, 8])
@pytest.mark.parametrize("calls", [crossed, joint, interleaved, queries_and_keys])
def test_small_batches_take_longer_and_show_no_other_form(calls, rows):
    torch.manual_seed(0)
    pairing, known = Pairing(), {crossed: {2, 3}, joint: {2, 3}}.get(calls, {1})
    for _ in range(100):
        form = pairing.form(*calls(rows))
        assert {online for _, online in form.pairs} in (known, {0})


def test_pairs_are_the_rows_of_both_views():
    torch.manual_seed(0)
    first, second = views(2, 64)
    for is_interleaved in (True, False):
        calls = [torch.stack([first, second], 1 if is_interleaved else 0).flatten(0, 1)]
        pairing = Pairing()
        while not (form := pairing.form(calls)).matched:
            pass
        assert form.interleaved == is_interleaved
        ((one, other),) = form.take(calls)
        assert torch.equal(one, first)
        assert torch.equal(other, second)


def test_steps_with_other_calls_have_their_own_form_and_a_smaller_last_batch_has_not():
    torch.manual_seed(0)
    pairing = Pairing()
    while not (usual := pairing.form(*crossed(64))).matched:
        pass
    assert pairing.form(*crossed(5)) == usual
    while not (logged := pairing.form(*other_images_third(64))).matched:
        pass
    assert logged.pairs == ((0, 4), (1, 3))
    assert pairing.form(*crossed(64)) == usual


def test_a_resumed_search_goes_on_exactly():
    torch.manual_seed(0)
    steps = [crossed(8) for _ in range(40)]
    whole, first, second = Pairing(), Pairing(), Pairing()
    expected = [whole.form(*calls) for calls in steps]
    found = [first.form(*calls) for calls in steps[:2]]
    second.load_state_dict(first.state_dict())
    found += [second.form(*calls) for calls in steps[2:]]
    assert found == expected
    assert [form.matched for form in expected].index(True) > 2
    resumed = Pairing()
    resumed.load_state_dict(second.state_dict())
    assert resumed.form(*crossed(8)) == expected[-1]


@pytest.mark.parametrize(
    ("is_joint", "calls", "pairs"),
    [
        (False, crossed, ((0, 3), (1, 2))),
        (False, queries_and_keys, ((0, 1),)),
        (False, lambda rows: (views(2, rows), []), ((0, 1),)),
        (True, joint, ((0, 3), (1, 2))),
        (True, lambda rows: (views(1, rows), []), ((0, 1),)),
    ],
)
def test_a_given_form_holds_from_the_first_step(is_joint, calls, pairs):
    form = Pairing(is_joint).form(*calls(6))
    assert form.pairs == pairs
    assert form.matched


@pytest.mark.parametrize(
    ("is_joint", "online", "target", "message"),
    [
        (None, [], [], "expected calls of the online projector, all of one width"),
        (None, [torch.ones(4, 2), torch.ones(4, 3)], [], r"one width; got \(4, 2\), \(4, 3\)"),
        (True, [torch.ones(5, 2)], [], r"joint=True: 1 online calls .* of \(5, 2\), do not hold"),
        (False, [torch.ones(4, 2)], [], "joint=False: 1 online calls and 0 of the target"),
        (False, [torch.ones(4, 2), torch.ones(3, 2)], [], r"of \(4, 2\), \(3, 2\), do not hold"),
    ],
)
def test_calls_that_do_not_fit_are_one_line(is_joint, online, target, message):
    with pytest.raises(ValueError, match=message):
        Pairing(is_joint).form(online, target)
