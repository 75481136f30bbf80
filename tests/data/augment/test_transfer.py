import torch

from ssl_norm.data.augment.transfer import move_together, to_device


def test_every_dtype_and_shape_survives():
    tensors = [
        torch.rand(3, 2, 5),
        torch.tensor([True, False, True]),
        torch.tensor([], dtype=torch.int64),
        torch.arange(7).flip(0),
        torch.rand(4, 2, dtype=torch.float64).T,
        torch.tensor(2.5),
    ]
    moved = move_together(tensors, torch.device("cpu"))
    for before, after in zip(tensors, moved, strict=True):
        assert after.dtype == before.dtype
        assert torch.equal(after, before)


def test_what_is_no_tensor_stays():
    parameters = [{"rows": torch.arange(2), "seed": 3}, {}]
    moved = to_device(parameters, torch.device("meta"))
    assert moved[0]["seed"] == 3
    assert moved[0]["rows"].device.type == "meta"
    assert moved[1] == {}
