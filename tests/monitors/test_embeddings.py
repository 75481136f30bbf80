"""Forms in which training loops hold their embeddings."""

from collections import OrderedDict
from dataclasses import dataclass
from math import isnan, nan

import pytest
import torch
from torch.nn import functional as F

from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.embeddings import vectors, views_of, without_broken_rows
from tests.monitors.samples import random

ROWS, WIDTH = 12, 6
A, B, C = (random(ROWS, WIDTH, seed=seed) for seed in range(3))


@dataclass
class Output:
    last_hidden_state: torch.Tensor


def collected(*given, **options):
    monitor = CollapseMonitor()
    monitor.observe(1, *given, **options)
    return monitor.collect()


@pytest.mark.parametrize(
    ("embeddings", "target", "pairs"),
    [
        ([(A, B)], None, [(A, B)]),
        ([(A, B), (B, C)], None, [(A, B), (B, C)]),
        ([[A, B]], None, [(A, B)]),
        ([A, B], None, [(A, B)]),
        ((A, B, C), None, [(A, B), (A, C), (B, C)]),
        (A, B, [(A, B)]),
        ([A, B], [B, C], [(A, C), (B, B)]),
        ([A, B, C], [A, B], [(A, B), (B, A), (C, A), (C, B)]),
    ],
)
def test_views_of_one_image_are_never_negatives(embeddings, target, pairs):
    found = views_of(embeddings, target)
    assert found.matched
    assert len(found.pairs) == len(pairs)
    for pair, expected in zip(found.pairs, pairs, strict=True):
        assert all(map(torch.equal, pair, expected))


@pytest.mark.parametrize("single", [A, [A], (A, None), [(A, None)]], ids=lambda _: "")
def test_one_view_has_no_positive_cosine(single):
    values, paired = collected(single), collected([(A, A)])
    assert isnan(values.pop("positive_cosine"))
    assert values["negative_cosine"] == paired["negative_cosine"]
    assert values["feature_std"] == paired["feature_std"]


@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_a_target_holds_as_many_views_as_it_has_rows_for(layout):
    tokens = [random(ROWS, 5, WIDTH, seed=seed) for seed in range(3)]
    axis = layout.index("N")
    given = [view.movedim(0, axis) for view in tokens]
    options = {"crops": 3, "layout": layout}
    found = views_of(torch.cat(given, axis), torch.cat(given[:2], axis), **options)
    expected = views_of(tokens, tokens[:2])
    assert len(found.pairs) == len(expected.pairs) == 4
    for pair, other in zip(found.pairs, expected.pairs, strict=True):
        assert all(map(torch.allclose, pair, other))


@pytest.mark.parametrize("wrap", [Output, lambda t: OrderedDict(last_hidden_state=t)])
def test_outputs_with_a_hidden_state_are_embeddings(wrap):
    tokens = random(ROWS, 5, WIDTH)
    assert collected(wrap(tokens), 0.5) == pytest.approx(collected(tokens, 0.5), nan_ok=True)


@pytest.mark.parametrize("layout", ["NCL", "LNC", "NCHW", "NHWC", "NTC"])
def test_a_layout_names_the_axes_whatever_their_sizes(layout):
    sizes = dict(zip("NCLHWT", (16, 16, 5, 4, 16, 5), strict=True))
    embedding = random(*(sizes[axis] for axis in layout))
    letters = layout.lower()
    expected = torch.einsum(f"{letters}->nc", embedding) / (embedding.numel() / 256)
    pooled, tokens = vectors(embedding, layout)
    assert torch.allclose(pooled, expected)
    assert torch.allclose(tokens.mean(1), expected)


def test_channels_of_a_convolution_are_not_taken_for_tokens():
    values = collected(random(64, 32, 50), layout="NCL")
    assert values["effective_rank"] > 20
    assert "token_cosine" in values


@pytest.mark.parametrize("loss", [None, 0.25, torch.tensor(0.25), torch.tensor([0.25])])
def test_a_loss_is_a_number_a_tensor_or_nothing(loss):
    monitor = CollapseMonitor(loss_at_collapse=0.25, patience=1)
    ones = torch.ones(ROWS, WIDTH)
    monitor.observe(1, [(ones, ones)], loss)
    monitor.collect()
    assert ("loss 0.2500" in monitor.evidence) == (loss is not None)


def test_a_queue_counts_by_its_length():
    queue = random(40, WIDTH, seed=9)
    z, q = F.normalize(A, dim=1), F.normalize(queue, dim=1)
    in_batch = [(z[i] @ z[j]).item() for i in range(ROWS) for j in range(ROWS) if i != j]
    weights = ROWS - 1, len(queue)
    expected = weights[0] * sum(in_batch) / len(in_batch) + weights[1] * (z @ q.T).mean().item()
    found = collected([(A, A)], negatives=queue)["negative_cosine"]
    assert found == pytest.approx(expected / sum(weights))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([], {}, "no embedding was given"),
        (None, {}, "no embedding was given"),
        ([(A, B), A], {}, "pairs must be a sequence"),
        ([(A, B, C)], {}, "pairs must be a sequence"),
        ([(A, B)], {"target": C}, "leave target out"),
        ([A, B[:6]], {}, "must have the same shape, got (12, 6), (6, 6)"),
        (A, {"crops": 5}, "crops=5 does not divide 12 rows"),
        (A, {"layout": "NCL"}, "layout=NCL does not fit (12, 6)"),
        (random(4, 6, 2, 2), {}, "needs layout="),
        ({"logits": A}, {}, "a dict with logits is not an embedding"),
        ("text", {}, "a str is not an embedding"),
        (A, {"loss": torch.ones(2)}, "loss must be a scalar, got a tensor of shape (2,)"),
    ],
)
def test_other_forms_are_refused(given, options, message):
    with pytest.raises(ValueError, match=r"^.*$") as error:
        collected(given, **options)
    assert message in str(error.value)


@pytest.mark.parametrize("broken", [(), (0,), (3, 4, 11), tuple(range(11))])
def test_broken_rows_give_way_to_finite_ones(broken):
    online, target = A.clone(), B.clone()
    for index, row in enumerate(broken):
        (online if index % 2 else target)[row, index % WIDTH] = (nan, float("inf"))[index % 2]
    (z, t), share = without_broken_rows(online, target)
    assert share.item() == pytest.approx(len(broken) / ROWS)
    kept = [row for row in range(ROWS) if row not in broken]
    assert torch.equal(z[kept], A[kept])
    counts = [sum(torch.equal(row, A[k]) for row in z) for k in kept]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == ROWS
    assert all(any(torch.equal(row, B[k]) for k in kept) for row in t)
