import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from ssl_norm.train.convolution import winograd
from ssl_norm.train.convolution.winograd import Winograd, release_buffers

# images, channels in, channels out, output, padding
CASES = [
    (3, 8, 12, (4, 4), (1, 1)),
    (5, 6, 4, (13, 4), (1, 1)),
    (2, 8, 8, (7, 9), (0, 2)),
    (1, 3, 5, (3, 2), (2, 0)),
]


def passes(case: tuple) -> tuple[list[Tensor], list[Tensor]]:
    """Return output and gradients by Winograd's algorithm, and of torch in float64."""
    number, inside, outside, size, padding = case
    sides = [side + 2 - 2 * pad for side, pad in zip(size, padding, strict=True)]
    images, weight = torch.randn(number, *sides, inside), torch.randn(outside, 3, 3, inside)
    gradient, way = torch.randn(number, *size, outside), Winograd(size, padding)
    found = [
        way.output(images, weight),
        way.gradient_of_images(gradient, weight),
        way.gradient_of_weight(gradient, images),
    ]
    exact = [each.double().permute(0, 3, 1, 2).requires_grad_() for each in (images, weight)]
    output = conv2d(*exact, padding=padding)
    gradients = torch.autograd.grad(output, exact, gradient.double().permute(0, 3, 1, 2))
    return found, [each.detach().permute(0, 2, 3, 1) for each in (output, *gradients)]


@pytest.mark.parametrize("elements", [1, winograd._CHUNK])
def test_passes_equal_float64_whatever_was_computed_before(elements, monkeypatch):
    monkeypatch.setattr(winograd, "_CHUNK", elements)
    release_buffers()
    for case in (*CASES, *reversed(CASES)):
        for ours, exact in zip(*passes(case), strict=True):
            assert ours.is_contiguous()
            scale = float(exact.abs().max())
            torch.testing.assert_close(ours.double(), exact, rtol=0, atol=4e-6 * scale)


def test_many_channels_keep_the_precision_of_float32():
    found, expected = passes((16, 256, 256, (4, 4), (1, 1)))
    errors = [
        float((ours - exact).norm() / exact.norm())
        for ours, exact in zip(found, expected, strict=True)
    ]
    assert max(errors) < 3e-6  # with the points 0, 1, -1, 2, -2 the output has 4e-6


def test_buffers_made_in_inference_mode_serve_training():
    release_buffers()
    with torch.inference_mode():
        passes_before = Winograd((4, 4), (1, 1)).output(
            torch.ones(1, 4, 4, 2), torch.ones(2, 3, 3, 2)
        )
    images = torch.ones(1, 4, 4, 2)
    found = Winograd((4, 4), (1, 1)).output(images, torch.ones(2, 3, 3, 2))
    assert torch.equal(found, passes_before)


def test_an_output_does_not_change_with_the_next_one():
    way, weight = Winograd((4, 4), (1, 1)), torch.randn(3, 3, 3, 2)
    first = way.output(torch.randn(2, 4, 4, 2), weight)
    copy = first.clone()
    way.output(torch.randn(2, 4, 4, 2), weight)
    assert torch.equal(first, copy)


def test_the_default_dtype_does_not_matter():
    release_buffers()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = Winograd((4, 4), (1, 1)).output(
            torch.ones(2, 4, 4, 8, dtype=torch.float32), torch.ones(3, 3, 3, 8, dtype=torch.float32)
        )
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == torch.float32


def test_an_image_that_needs_large_buffers_is_left_to_onednn():
    assert Winograd((120, 120), (1, 1)).is_worth(1, 256, 256)
    assert not Winograd((124, 124), (1, 1)).is_worth(1, 256, 256)
