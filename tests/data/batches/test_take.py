import torch

from ssl_norm.data.dataset import gather

PIXELS = torch.arange(5 * 2 * 2 * 3, dtype=torch.uint8).reshape(5, 2, 2, 3)


def test_gather_equals_indexing_and_writes_where_it_is_told():
    rows = torch.tensor([4, 0, 4])
    out = torch.empty(3, 2, 2, 3, dtype=torch.uint8)
    assert gather(PIXELS, rows, out) is out
    assert torch.equal(out, PIXELS[rows])
    assert torch.equal(gather(PIXELS, rows), PIXELS[rows])
