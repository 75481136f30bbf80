import pytest
import torch
from torch.nn import functional as F

from tests.learners.toy import make, views
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


def test_first_keys_from_a_generator():
    queues = [
        make("moco_v2", generator=torch.Generator().manual_seed(7)).queue.keys for _ in range(2)
    ]
    assert torch.equal(*queues)


def test_joint_statistics_need_both_views():
    with pytest.raises(ValueError, match="view_statistics=joint needs symmetric=true"):
        make("moco_v2", view_statistics="joint")
