"""Triton's passes compiled for absent GPUs: the interpreter accepts more than the compiler."""

import os
from typing import NamedTuple

import pytest
import torch

from tests.norms.kernels.passes import LAYOUTS, data

triton = pytest.importorskip("triton", exc_type=ImportError, reason="needs Triton")
pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="nothing is compiled in the interpreter"
)

TARGETS = {"sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
CASES = [
    ((4, 32, 16, 16), torch.bfloat16, "channels last"),
    ((1, 3, 90, 90), torch.float32, "contiguous"),
    ((2, 5, 1, 1), torch.float64, "contiguous"),
]


class AbsentDevice(NamedTuple):
    """Properties of a device that Triton reads before it compiles."""

    target: object

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Collect the kernels, by name, that would have been launched."""
    from triton.runtime import JITFunction

    kernels, run = {}, JITFunction.run

    def compile_only(self, *arguments, grid, warmup, **options):
        kernels[self.__name__] = run(self, *arguments, grid=grid, warmup=True, **options)

    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return kernels


@pytest.mark.parametrize("target", TARGETS)
def test_every_kernel_compiles(target, compiled, monkeypatch):
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from ssl_norm.norms.kernels import triton_device_code, triton_kernels

    monkeypatch.setattr(driver, "_active", AbsentDevice(GPUTarget(*TARGETS[target])))
    monkeypatch.setattr(triton_kernels, "_programs_to_fill", lambda device: 264)
    for kernel in vars(triton_device_code).values():
        if hasattr(kernel, "device_caches"):
            monkeypatch.setattr(
                kernel, "device_caches", type(kernel.device_caches)(kernel.create_binder)
            )
    for shape, dtype, layout in CASES:
        x = LAYOUTS[layout](data(*shape, dtype=dtype))
        mean, variance = triton_kernels.instance_moments(x)
        expanded = variance[0].expand_as(variance)
        triton_kernels.pointwise_map(x, expanded, variance)
        triton_kernels.map_gradients(x, x, mean, mean)
        triton_kernels.input_gradient(x, x, mean, expanded, expanded, variance)
    assert set(compiled) == {
        "moments_kernel",
        "merge_kernel",
        "affine_kernel",
        "affine_gradients_kernel",
        "input_gradient_kernel",
    }
    assembly = "ptx" if target.startswith("sm") else "amdgcn"
    assert all(kernel.asm[assembly] for kernel in compiled.values())
