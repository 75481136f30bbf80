"""The four passes in C++ for CPUs, compiled for each map: passes.cpp.

Inputs that are neither contiguous nor channels-last are copied, and so is a gradient whose order in
memory differs from that of x. A block is summed in float32 (float64 if the input is float64), and
the sums of blocks are added in float64.
"""

from ctypes import Structure, byref, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.norms.kernels.native_build import library
from ssl_norm.norms.kernels.tables import dense, ordered, table_dtype

SCALARS = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "BFloat16"}
SERIAL_ELEMENTS = 2**15  # up to this size one thread is as fast; torch has the same limit


class Passes:
    """The passes with one map of passes.cpp; `tables` is the number of its tables."""

    def __init__(self, name: str, tables: int) -> None:
        self.name = name
        self.tables = tables

    def take(self, x: Tensor) -> bool:
        """Return whether they run on x: a plain tensor on a CPU, outside of dispatch modes."""
        return (
            x.device.type == "cpu"
            and type(x) in (Tensor, nn.Parameter)
            and x.dtype in SCALARS
            and torch._C._len_torch_dispatch_stack() == 0
            and self._library(x) is not None
        )

    def instance_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance over space of (N, C, *spatial), each (N, C)."""
        x, channels_last = dense(x)
        mean, variance = (x.new_empty(x.shape[:2], dtype=table_dtype(x)) for _ in range(2))
        shape, addresses = _shape(x, channels_last), pointers(x, mean, variance)
        self._library(x).ssl_norm_instance_moments(shape, *addresses)
        return mean, variance

    def pointwise_map(self, x: Tensor, *tables: Tensor) -> Tensor:
        """Return the map of x (N, C, *spatial), like x; the tables are (N, C)."""
        x, channels_last = dense(x)
        y = torch.empty_like(x)
        shape, addresses = _shape(x, channels_last), pointers(x, y)
        self._library(x).ssl_norm_map(shape, *addresses, _tables(*tables))
        return y

    def map_gradients(
        self, dy: Tensor, x: Tensor, mean: Tensor, *kept: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the gradients of all tables, each (N, C), from those that the map keeps."""
        x, channels_last = dense(x)
        dy, sums = ordered(dy, channels_last), mean.new_empty(self.tables, *mean.shape)
        shape, addresses = _shape(x, channels_last), pointers(dy, x)
        tables = _tables(mean), _tables(*kept)
        self._library(x).ssl_norm_map_gradients(shape, *addresses, *tables, *pointers(sums))
        return sums.unbind()

    def input_gradient(
        self, dy: Tensor, x: Tensor, mean: Tensor, d_mean: Tensor, d_variance: Tensor, *kept: Tensor
    ) -> Tensor:
        """Return dy * slope + (d_mean + 2 (x - mean) d_variance) / positions, like x."""
        x, channels_last = dense(x)
        dy, dx = ordered(dy, channels_last), torch.empty_like(x)
        shape, addresses = _shape(x, channels_last), pointers(dy, x, dx)
        tables = _tables(mean, d_mean, d_variance), _tables(*kept)
        self._library(x).ssl_norm_input_gradient(shape, *addresses, *tables)
        return dx

    def _library(self, x: Tensor) -> Any:
        return library(SCALAR=SCALARS[x.dtype], MAP=self.name)


class _Shape(Structure):
    _fields_ = [
        (name, c_int64) for name in ("samples", "channels", "positions", "channels_last", "threads")
    ]


class _Table(Structure):
    _fields_ = [("entries", c_void_p), ("sample_stride", c_int64), ("channel_stride", c_int64)]


def _shape(x: Tensor, channels_last: bool) -> Any:
    threads = torch.get_num_threads() if x.numel() > SERIAL_ELEMENTS else 1
    return byref(_Shape(*x.shape[:2], x.shape[2:].numel(), channels_last, threads))


def pointers(*tensors: Tensor) -> list[c_void_p]:
    """Return the addresses of tensors, which must stay alive while they are used."""
    return [c_void_p(tensor.data_ptr()) for tensor in tensors]


def _tables(*tables: Tensor) -> Any:
    """Return the addresses and strides of tables (N, C), which must stay alive during the call."""
    entries = [_Table(table.data_ptr(), *table.stride()) for table in tables]
    return (_Table * len(tables))(*entries)
