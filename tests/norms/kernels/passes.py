"""Definitions of the four passes in float64, and inputs for them in every layout."""

import torch

LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "sliced": lambda x: torch.stack([x, x - 9], -1)[..., 0],
}
SHAPES = [(2, 5, 7), (1, 3, 1), (3, 1, 4), (3, 5, 3, 2), (2, 20, 1, 1), (2, 6, 3, 2, 3)]
TOLERANCES = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
}


def data(*shape, dtype=torch.float64, device="cpu", seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (2 * x + 0.7).to(device, dtype)


def tables(x, dtype, seed=10):
    """Return a full table (N, C), and one expanded from (C,), as in batch norms."""
    N, C = x.shape[:2]
    full = data(N, C, dtype=dtype, device=x.device, seed=seed)
    return full, data(C, dtype=dtype, device=x.device, seed=seed + 1).expand(N, C)


def moments(x):
    rows = x.double().flatten(2)
    return rows.mean(-1), rows.var(-1, correction=0)


def affine(x, scale, shift):
    y = scale.double()[..., None] * x.double().flatten(2) + shift.double()[..., None]
    return y.view(x.shape)


def affine_gradients(dy, x):
    rows, gradients = x.double().flatten(2), dy.double().flatten(2)
    return (gradients * rows).sum(-1), gradients.sum(-1)


def input_gradient(dy, scale, x, mean, d_mean, d_variance):
    rows, gradients = x.double().flatten(2), dy.double().flatten(2)
    scale, mean, d_mean, d_variance = (
        table.double()[..., None] for table in (scale, mean, d_mean, d_variance)
    )
    through_moments = (d_mean + 2 * (rows - mean) * d_variance) / rows.shape[-1]
    return (scale * gradients + through_moments).view(x.shape)


def check(passes, x, dy):
    """Compare all four passes of a module with float64; tables are float32, or float64 as x."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    exact = TOLERANCES[dtype]
    before, dy_before = x.clone(), dy.clone()
    mean, variance = passes.instance_moments(x)
    assert mean.dtype == variance.dtype == dtype
    close((mean, variance), moments(x), exact)
    full, expanded = tables(x, dtype)
    y = passes.pointwise_map(x, expanded, full)
    close(y, affine(x, expanded, full), TOLERANCES[x.dtype])
    close(passes.map_gradients(dy, x, mean, expanded), affine_gradients(dy, x), exact)
    dx = passes.input_gradient(dy, x, mean, expanded, full, full)
    close(dx, input_gradient(dy, full, x, mean, expanded, full), TOLERANCES[x.dtype])
    for like in (y, dx):
        assert (like.shape, like.dtype) == (x.shape, x.dtype)
        assert like.movedim(1, -1).is_contiguous() or not x.movedim(1, -1).is_contiguous()
        assert like.is_contiguous() or not x.is_contiguous()
    assert torch.equal(x, before)
    assert torch.equal(dy, dy_before)


def check_hostile_mean(passes, device, layout):
    """Compare the variance within 1e-5: mean of 1,000 deviations, outlying first value."""
    x = LAYOUTS[layout](data(2, 3, 40, 41, seed=5) + 2000).to(device, torch.float32)
    x[0, 0, 0] = 0
    mean, variance = passes.instance_moments(x)
    expected_mean, expected_variance = moments(x)
    torch.testing.assert_close(mean.double(), expected_mean, rtol=2e-7, atol=0)
    torch.testing.assert_close(variance.double(), expected_variance, rtol=1e-5, atol=0)


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, check_dtype=False, **tolerance)
