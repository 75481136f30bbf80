"""Bytes that a layer keeps for its backward pass."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .contestants import REFERENCE, Build
from .layers import TOTAL, shape_name


@dataclass(frozen=True)
class MemoryCost:
    """Memory that a layer keeps, per shape and, under `sum`, over all shapes.

    Attributes:
        kept: number of bytes, including those of the input.
        ratio: ratio to the reference.
        maps: number of kept tensors with the size of the input, including the input.
        tables: bytes of all smaller tensors, as a share of those of the input.
    """

    kept: dict[str, int]
    ratio: dict[str, float]
    maps: dict[str, int]
    tables: dict[str, float]


def saved_storages(layer: nn.Module, x: Tensor) -> list[int]:
    """Return the bytes of each storage that a forward pass saves for the backward pass.

    Parameters and buffers count if they are saved; the output counts only if the layer saves it.
    """
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        storages[storage.data_ptr()] = storage
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        layer(x)
    return [storage.nbytes() for storage in storages.values()]


def measure_memory(
    builds: Mapping[str, Build], shapes: tuple[tuple[int, ...], ...], batch_size: int
) -> dict[str, MemoryCost]:
    """Return the memory cost of each layer by name, for float32 inputs (N, C, H, W) on the CPU."""
    kept: dict[str, dict[str, list[int]]] = {name: {} for name in builds}
    inputs = {}
    for shape in shapes:
        x = torch.randn(batch_size, *shape, requires_grad=True)
        inputs[shape_name(shape)] = x.untyped_storage().nbytes()
        for name, build in builds.items():
            kept[name][shape_name(shape)] = saved_storages(build(shape[0]).train(), x)
    sums = {name: _with_total({k: sum(v) for k, v in kept[name].items()}) for name in kept}
    return {name: _cost(kept[name], sums[name], sums[REFERENCE], inputs) for name in builds}


def _with_total(numbers: dict[str, int]) -> dict[str, int]:
    return numbers | {TOTAL: sum(numbers.values())}


def _cost(
    kept: Mapping[str, list[int]],
    sums: dict[str, int],
    reference: Mapping[str, int],
    inputs: dict[str, int],
) -> MemoryCost:
    """Return one contestant's cost from the bytes of its storages."""
    tables = {c: sum(b for b in sizes if b < inputs[c]) for c, sizes in kept.items()}
    maps = {c: sum(b >= inputs[c] for b in sizes) for c, sizes in kept.items()}
    sizes = _with_total(inputs)
    return MemoryCost(
        kept=sums,
        ratio={case: round(sums[case] / reference[case], 4) for case in sums},
        maps=maps,
        tables={case: round(n / sizes[case], 4) for case, n in _with_total(tables).items()},
    )
