from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from ssl_norm.train.convolution import replace
from ssl_norm.train.convolution.replace import faster_convolutions
from ssl_norm.train.convolution.taps import Taps
from ssl_norm.train.convolution.winograd import Winograd

NHWC = torch.channels_last

# channels in, channels out, input, kernel, stride, padding
REPLACED = {
    "one pixel, mostly padding": (40, 30, (1, 1), (3, 3), (1, 1), (1, 1)),
    "two by two": (64, 64, (2, 2), (3, 3), (1, 1), (1, 1)),
    "stride to one pixel": (32, 64, (2, 2), (3, 3), (2, 2), (1, 1)),
    "patches": (32, 128, (6, 4), (3, 2), (3, 2), (0, 0)),
    "axes that differ": (96, 96, (3, 5), (2, 5), (1, 3), (1, 2)),
    "padding wider than the input": (64, 64, (1, 2), (5, 3), (2, 1), (2, 1)),
}
WITH_AVX2 = {"gradient of the weight alone": (256, 256, (16, 16), (3, 3), (2, 2), (1, 1))}
MANY_CHANNELS = {
    "tiles": (128, 136, (8, 8), (3, 3), (1, 1), (1, 1)),
    "part of a tile": (256, 256, (7, 8), (3, 3), (1, 1), (1, 1)),
    "padding of two pixels": (256, 200, (6, 8), (3, 3), (1, 1), (2, 0)),
}
CASES = REPLACED | WITH_AVX2 | MANY_CHANNELS


@pytest.fixture
def products(monkeypatch):
    """Count the plans that were used; treat every processor as one with AVX2."""
    monkeypatch.setattr(replace, "_PIXELS_OF_GRADIENT", 64)
    replace._way.cache_clear()
    yield
    replace._way.cache_clear()


def drawn(*shape: int, form=NHWC, dtype=torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype).to(memory_format=form).requires_grad_()


def all_gradients(images, weight, bias, gradient, **options):
    """Return output, gradients, and the gradients of their squares."""
    inputs = [images, weight, *([] if bias is None else [bias])]
    output = conv2d(images, weight, bias, **options)
    first = torch.autograd.grad(output, inputs, gradient, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs[:2])
    return output, *first, *second


@pytest.mark.parametrize(("with_bias", "form"), [(False, NHWC), (True, torch.contiguous_format)])
@pytest.mark.parametrize("case", CASES)
def test_equal_convolutions_in_float64_with_gradients_of_two_orders(
    case, with_bias, form, products
):
    inside, outside, size, kernel, stride, padding = CASES[case]
    images, weight = drawn(8, inside, *size), drawn(outside, inside, *kernel, form=form)
    bias = drawn(outside, form=torch.contiguous_format) if with_bias else None
    options = {"stride": stride, "padding": padding}
    gradient = torch.randn_like(conv2d(images, weight, **options))
    doubles = [None if t is None else t.detach().double() for t in (images, weight, bias, gradient)]
    for tensor in doubles[:3]:
        _ = tensor is None or tensor.requires_grad_()
    expected = all_gradients(*doubles, **options)
    with faster_convolutions():
        found = all_gradients(images, weight, bias, gradient, **options)
    assert replace._way.cache_info().hits
    way = replace._way(images.shape, weight.shape, stride, padding, (1, 1))
    assert isinstance(way, Winograd if case in MANY_CHANNELS else Taps)
    for ours, exact in zip(found, expected, strict=True):
        scale = float(exact.detach().abs().max())
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=6e-6 * scale)


def test_gradients_of_weights_skip_padding(products, monkeypatch):
    multiplied = []
    product = torch.mm
    monkeypatch.setattr(
        torch, "mm", lambda a, b, out: (multiplied.append(a.shape[1]), product(a, b, out=out))
    )
    images, weight = drawn(5, 64, 2, 2), drawn(64, 64, 3, 3)
    with faster_convolutions():
        conv2d(images, weight, padding=1).sum().backward()
    # Along an axis, the three elements of the kernel meet 1, 2 and 1 pixels of the input.
    assert sorted(multiplied) == sorted(5 * a * b for a in (1, 2, 1) for b in (1, 2, 1))


UNTOUCHED = {
    "large output of few channels": lambda: conv2d(drawn(2, 96, 8, 8), drawn(96, 96, 3, 3)),
    "much of the tiles unused": lambda: conv2d(drawn(5, 256, 7, 7), drawn(256, 256, 3, 3)),
    "few tiles": lambda: conv2d(drawn(7, 256, 10, 10), drawn(256, 256, 3, 3)),
    "large output": lambda: conv2d(drawn(2, 16, 8, 8), drawn(16, 16, 3, 3)),
    "few channels": lambda: conv2d(drawn(2, 8, 2, 2), drawn(8, 8, 3, 3), padding=1),
    "kernel of one pixel": lambda: conv2d(drawn(2, 64, 2, 2), drawn(64, 64, 1, 1)),
    "groups": lambda: conv2d(drawn(2, 128, 2, 2), drawn(128, 64, 3, 3), padding=1, groups=2),
    "dilation": lambda: conv2d(drawn(2, 64, 2, 2), drawn(64, 64, 3, 3), padding=2, dilation=2),
    "transposed": lambda: conv_transpose2d(drawn(2, 64, 1, 1), drawn(64, 64, 2, 2)),
    "float64": lambda: conv2d(
        drawn(2, 64, 2, 2, dtype=torch.float64), drawn(64, 64, 3, 3, dtype=torch.float64), padding=1
    ),
    "bfloat16": lambda: conv2d(
        drawn(2, 64, 2, 2, dtype=torch.bfloat16),
        drawn(64, 64, 3, 3, dtype=torch.bfloat16),
        padding=1,
    ),
    "contiguous": lambda: conv2d(
        drawn(2, 64, 2, 2, form=torch.contiguous_format), drawn(64, 64, 3, 3), padding=1
    ),
    "no images": lambda: conv2d(drawn(0, 64, 2, 2), drawn(64, 64, 3, 3), padding=1),
    "no channels": lambda: conv2d(drawn(2, 0, 8, 8), drawn(64, 0, 3, 3), padding=1),
    "padding by name": lambda: conv2d(drawn(2, 64, 3, 3), drawn(64, 64, 3, 3), padding="valid"),
    "one channel": lambda: conv2d(
        drawn(2, 1, 4, 4, form=torch.contiguous_format), drawn(4096, 1, 3, 3)
    ),
}


@pytest.mark.parametrize("case", UNTOUCHED)
def test_other_convolutions_stay_as_they_are(case):
    torch.manual_seed(0)
    expected = UNTOUCHED[case]()
    torch.manual_seed(0)
    with faster_convolutions():
        found = UNTOUCHED[case]()
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
    found.sum().backward()


@contextmanager
def products_of_bfloat16() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


REDUCED = {
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
    "precision of products": products_of_bfloat16,
}


@pytest.mark.parametrize("side", [2, 8])
@pytest.mark.parametrize("reduced", REDUCED)
def test_gradients_stay_as_they_are_where_products_have_less_precision(reduced, side):
    images, weight = drawn(8, 128, side, side), drawn(128, 128, 3, 3)
    output = conv2d(images, weight, padding=1)
    gradients = partial(
        torch.autograd.grad, output, (images, weight), torch.randn_like(output), retain_graph=True
    )
    with REDUCED[reduced]():
        expected = gradients()
        with faster_convolutions():
            found = gradients()
    assert all(map(torch.equal, found, expected))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_tracing_records_a_convolution():
    layer, images = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=NHWC), drawn(5, 64, 2, 2)
    with faster_convolutions():
        traced = torch.jit.trace(layer, images)
        torch.testing.assert_close(traced(images), layer(images))
    assert "aten::_convolution" in str(traced.graph)


ERRORS = {
    "Kernel size can't be greater": lambda: conv2d(drawn(2, 64, 1, 1), drawn(64, 64, 3, 3)),
    "64 channels": lambda: conv2d(drawn(2, 32, 4, 4), drawn(64, 64, 3, 3)),
    "128 channels": lambda: conv2d(drawn(2, 64, 4, 4), drawn(64, 64, 3, 3), groups=2),
    "1-dimensional with 64 elements": lambda: conv2d(
        drawn(2, 64, 4, 4), drawn(64, 64, 3, 3), drawn(1, form=torch.contiguous_format)
    ),
    "weight to be at least 1": lambda: conv2d(drawn(2, 64, 8, 8), drawn(0, 64, 3, 3)),
    "non-positive stride": lambda: conv2d(drawn(2, 64, 4, 4), drawn(64, 64, 3, 3), stride=0),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_are_those_of_torch(message):
    with faster_convolutions(), pytest.raises(RuntimeError, match=message):
        ERRORS[message]()


def test_torch_computes_as_before_after_the_block():
    images, weight = drawn(5, 64, 2, 2), drawn(64, 64, 3, 3)
    before = conv2d(images, weight, padding=1)
    with faster_convolutions():
        conv2d(images, weight, padding=1)
    assert torch.equal(conv2d(images, weight, padding=1), before)


@pytest.mark.parametrize("frozen", ["images", "weight"])
@pytest.mark.parametrize("case", CASES)
def test_one_gradient_alone_is_the_same(case, frozen, products):
    inside, outside, size, kernel, stride, padding = CASES[case]
    images, weight = drawn(8, inside, *size), drawn(outside, inside, *kernel)
    with faster_convolutions():
        both = torch.autograd.grad(
            conv2d(images, weight, None, stride, padding).square().sum(), (images, weight)
        )
        {"images": images, "weight": weight}[frozen].requires_grad_(False)
        left, expected = (images, both[0]) if frozen == "weight" else (weight, both[1])
        output = conv2d(images, weight, None, stride, padding)
        (alone,) = torch.autograd.grad(output.square().sum(), left)
    torch.testing.assert_close(alone, expected)
