import pytest
import torch
from torch.nn import functional as F

from ssl_norm.learners.moco_v2 import KeyQueue, on_permuted_batch, shared_permutation
from tests.learners.toy import make, views, with_ghost_batches
from tests.reference.losses import info_nce


@pytest.mark.parametrize("symmetric", [False, True])
def test_loss_from_its_own_parts(symmetric):
    learner = make("moco_v2", norm="bn", temperature=0.3, symmetric=symmetric).eval()
    view1, view2 = views()
    queue = learner.queue.keys.numpy()
    expected = 0.0
    for query_view, key_view in ((view1, view2), (view2, view1))[: 1 + symmetric]:
        q = learner.projector(learner.encoder(query_view)).detach().numpy()
        expected += info_nce(q, learner.target(key_view).numpy(), queue, 0.3)
    output = learner(view1, view2)
    torch.testing.assert_close(output.loss.item(), expected, rtol=1e-12, atol=0)
    assert len(output.pairs) == 1 + symmetric
    torch.testing.assert_close(output.pairs[0][1], learner.target(view2))


@pytest.mark.parametrize("symmetric", [False, True])
def test_queue_holds_the_newest_keys_in_order(symmetric):
    learner = make("moco_v2", queue_size=24, symmetric=symmetric)
    keys = []
    for step in range(8):
        output = learner(*views(step))
        output.loss.backward()
        learner.after_backward(output)
        learner.after_step(step / 8)
        keys += [F.normalize(k) for _, k in output.pairs]
    newest = torch.cat(keys)[-24:]
    oldest_first = learner.queue.keys.roll(-int(learner.queue.pointer), dims=0)
    torch.testing.assert_close(oldest_first, newest)


@pytest.mark.parametrize("symmetric", [False, True])
def test_no_positive_is_among_its_own_negatives(symmetric):
    learner = make("moco_v2", symmetric=symmetric)
    for step in range(3):
        negatives = learner.queue.keys.clone()
        output = learner(*views(step))
        assert torch.equal(learner.queue.keys, negatives)
        for _, keys in output.pairs:
            assert (F.normalize(keys) @ negatives.T).max() < 1 - 1e-9
        learner.after_backward(output)
        for _, keys in output.pairs:
            nearest = (F.normalize(keys) @ learner.queue.keys.T).max(dim=1).values
            torch.testing.assert_close(nearest, torch.ones_like(nearest))


def test_joint_statistics_need_both_views():
    with pytest.raises(ValueError, match="view_statistics=joint needs symmetric=true"):
        make("moco_v2", view_statistics="joint")


def ghost_learner(**options):
    return with_ghost_batches(make("moco_v2", norm="bn", **options), 2)


def test_keys_have_the_statistics_of_their_permuted_chunk():
    learner = ghost_learner()
    view1, view2 = views()
    torch.manual_seed(1)
    keys = learner(view1, view2).pairs[0][1]
    torch.manual_seed(1)
    permutation = torch.randperm(4)
    assert set(permutation[:2].tolist()) not in ({0, 1}, {2, 3})
    whole = make("moco_v2", norm="bn")
    for chunk in permutation.split(2):
        torch.testing.assert_close(keys[chunk], whole.target(view2[chunk]))
    unshuffled = ghost_learner(shuffle_keys=False)(view1, view2).pairs[0][1]
    for chunk in ([0, 1], [2, 3]):
        torch.testing.assert_close(unshuffled[chunk], whole.target(view2[chunk]))
    assert not torch.allclose(keys, unshuffled, atol=1e-3)


@pytest.mark.parametrize(("view_statistics", "permutations"), [("separate", 2), ("joint", 1)])
def test_each_pass_of_the_key_network_has_a_permutation_of_its_own(view_statistics, permutations):
    learner = ghost_learner(symmetric=True, view_statistics=view_statistics)
    view1, view2 = views()
    torch.manual_seed(0)
    output = learner(view1, view2)
    keys = torch.cat([output.pairs[1][1], output.pairs[0][1]])
    torch.manual_seed(0)
    drawn = [torch.randperm(8 // permutations) for _ in range(permutations)]
    whole = make("moco_v2", norm="bn")
    for number, permutation in enumerate(drawn):
        for chunk in (permutation + 4 * number).split(2):
            torch.testing.assert_close(keys[chunk], whole.target(torch.cat([view1, view2])[chunk]))


def batch(index, rows=2):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(index))


def test_starts_with_random_unit_rows():
    queue = KeyQueue(64, 3)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(64))
    assert queue.keys.mean(dim=0).norm() < 0.5
    assert set(queue.state_dict()) == {"keys", "pointer"}


def test_sizes_of_a_queue_are_checked():
    with pytest.raises(ValueError, match="multiple of the batch size, got 6 and 4"):
        KeyQueue(6, 3).enqueue(batch(0, rows=4))
    with pytest.raises(ValueError, match=r"keys must have shape \(N, 5\), got \(2, 3\)"):
        KeyQueue(6, 5).enqueue(batch(0))


def test_a_permutation_is_given_by_the_seed_and_has_the_length_of_the_batch():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append([shared_permutation(50) for _ in range(2)])
    assert torch.equal(drawn[0][0].sort().values, torch.arange(50))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    with pytest.raises(ValueError, match=r"permutation of the 8 rows of all ranks.*got one of 7"):
        on_permuted_batch(torch.neg, batch(0, rows=8), torch.randperm(7))


@pytest.mark.parametrize("norm", ["ln", "bn"])
def test_shuffling_changes_no_keys_without_statistics_of_parts(norm):
    shuffled, plain = (
        make("moco_v2", norm=norm, symmetric=True, shuffle_keys=shuffle)(*views())
        for shuffle in (True, False)
    )
    for (_, keys), (_, expected) in zip(shuffled.pairs, plain.pairs, strict=True):
        torch.testing.assert_close(keys, expected)


def test_enqueue_keeps_the_queues_dtype_and_no_graph():
    queue = KeyQueue(4, 3).double()
    queue.enqueue(batch(0).requires_grad_())
    assert queue.keys.dtype == torch.float64
    assert not queue.keys.requires_grad
