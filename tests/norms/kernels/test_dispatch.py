"""Choice of passes: those of Triton on a GPU if they run, else those of torch."""

import sys

import pytest
import torch

from ssl_norm.norms import kernels
from ssl_norm.norms.kernels import dispatch, tiled

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Let every test choose again, outside the interpreter."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    dispatch._passes_on.cache_clear()
    yield
    dispatch._passes_on.cache_clear()


def test_torch_is_used_without_triton(monkeypatch):
    monkeypatch.delattr(kernels, "triton_kernels", raising=False)
    monkeypatch.setitem(sys.modules, "ssl_norm.norms.kernels.triton_kernels", None)
    assert dispatch._passes_on(CUDA) is tiled


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_torch_is_used_if_triton_fails():
    pytest.importorskip("triton", exc_type=ImportError)
    with pytest.warns(UserWarning, match="norms on cuda:0 run without Triton, correct but slower"):
        assert dispatch._passes_on(CUDA) is tiled


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_triton_is_used_on_a_gpu():
    triton_kernels = pytest.importorskip(
        "ssl_norm.norms.kernels.triton_kernels", exc_type=ImportError
    )
    assert dispatch.passes_for(torch.empty(1, device="cuda")) is triton_kernels
