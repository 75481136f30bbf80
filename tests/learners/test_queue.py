import pytest
import torch
from torch.nn import functional as F

from ssl_norm.learners.queue import KeyQueue


def batch(index, rows=2):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(index))


def test_starts_with_random_unit_rows():
    torch.manual_seed(0)
    queue = KeyQueue(64, 3)
    torch.manual_seed(0)
    again = KeyQueue(64, 3)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(64))
    assert torch.equal(queue.keys, again.keys)
    assert queue.keys.mean(dim=0).norm() < 0.3
    assert set(queue.state_dict()) == {"keys", "pointer"}


def test_oldest_rows_are_replaced():
    queue = KeyQueue(6, 3)
    for index in range(5):
        queue.enqueue(batch(index))
    newest = [F.normalize(batch(index)) for index in (3, 4, 2)]
    torch.testing.assert_close(queue.keys, torch.cat(newest))
    assert queue.pointer == 4


def test_state_dict_continues_where_it_stopped():
    queue = KeyQueue(6, 3)
    queue.enqueue(batch(0))
    copy = KeyQueue(6, 3)
    copy.load_state_dict(queue.state_dict())
    queue.enqueue(batch(1))
    copy.enqueue(batch(1))
    assert torch.equal(queue.keys, copy.keys)


def test_enqueue_keeps_the_queues_dtype_and_no_graph():
    queue = KeyQueue(4, 3).double()
    queue.enqueue(batch(0).requires_grad_())
    assert queue.keys.dtype == torch.float64
    assert not queue.keys.requires_grad


def test_size_must_be_a_multiple_of_the_batch():
    with pytest.raises(ValueError, match="multiple of the batch size, got 6 and 4"):
        KeyQueue(6, 3).enqueue(batch(0, rows=4))


def test_width_must_fit():
    with pytest.raises(ValueError, match=r"keys must have shape \(N, 5\), got \(2, 3\)"):
        KeyQueue(6, 5).enqueue(batch(0))


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="size >= 1 and dim >= 1, got 0 and 3"):
        KeyQueue(0, 3)
