"""Search for an encoder's weights in checkpoints of several libraries."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ssl_norm.text import unique

Weights = Mapping[str, Tensor]

# Names in residual blocks of lightly, and of timm and torchvision.
OTHER_NAMES = (("shortcut", "downsample"),)
# Names that wrappers add anywhere. `module` of DDP counts only inside a name, because in front it
# is a prefix like any other.
WRAPPERS = re.compile(
    r"\b(_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module|_forward_module)\."
    r"|(?<=\.)module\."
)
ONLINE_WORDS = frozenset({"online", "student", "query", "q"})
TARGET_WORDS = frozenset({"momentum", "target", "teacher", "ema", "lagging", "key", "k"})


class Candidate(NamedTuple):
    """Weights that may belong to the encoder."""

    nesting: str  # keys that lead to them in the file, each followed by `: `
    prefix: str  # prefix before the encoder's names
    weights: Weights  # all weights of that nesting, renamed as in the encoder
    notes: tuple[str, ...] = ()  # notes on the renaming

    @property
    def inside(self) -> dict[str, Tensor]:
        """The weights under the prefix, by their names in the encoder."""
        cut = len(self.prefix)
        return {k[cut:]: v for k, v in self.weights.items() if k.startswith(self.prefix)}

    def __str__(self) -> str:
        notes = f" ({', '.join(self.notes)})" if self.notes else ""
        return f"{self.nesting}{self.prefix}*{notes}"


def candidates(
    contents: Mapping[str, Any], wanted: Weights, layers: Sequence[str] = ()
) -> Iterator[Candidate]:
    """Yield every place in a checkpoint whose names end like those of the encoder's tensors.

    Names are compared unchanged, without the names of wrappers, with the names of other libraries,
    and with the numbers of `nn.Sequential(*encoder.children())` (lightly) replaced by the
    children's names. `layers` are the encoder's children that compute anything, in order; a note
    names those that a Sequential lacks.
    """
    for nesting, found in state_dicts(contents):
        for weights, notes in _wordings(found):
            for prefix in _prefixes(weights, wanted):
                yield Candidate(nesting, prefix, weights, notes)
            for prefix, named, lacking in _children_by_number(weights, wanted, layers):
                yield Candidate(nesting, prefix, named, (*notes, "children by number", *lacking))


def state_dicts(contents: Mapping[str, Any], nesting: str = "") -> Iterator[tuple[str, Weights]]:
    """Yield every dict that contains tensors, with the keys that lead to it."""
    tensors = {str(key): value for key, value in contents.items() if isinstance(value, Tensor)}
    if tensors:
        yield nesting, tensors
    for key, value in contents.items():
        if isinstance(value, Mapping):
            yield from state_dicts(value, f"{nesting}{key}: ")


def _prefixes(weights: Weights, wanted: Weights) -> list[str]:
    """Return the prefixes of the encoder's names among the names of `weights`."""
    found: dict[str, None] = {}
    for key in weights:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                found["".join(f"{part}." for part in parts[:cut])] = None
    return list(found)


def _wordings(weights: Weights) -> Iterator[tuple[Weights, tuple[str, ...]]]:
    """Yield the weights unchanged, and renamed if names of wrappers or another library occur."""
    yield weights, ()
    bare = {WRAPPERS.sub("", key): value for key, value in weights.items()}
    if len(bare) < len(weights):  # two networks, one of them wrapped
        bare = dict(weights)
    if bare.keys() != weights.keys():
        yield bare, ("without wrappers",)
    for theirs, ours in OTHER_NAMES:
        renamed = {key.replace(f".{theirs}.", f".{ours}."): value for key, value in bare.items()}
        if renamed.keys() != bare.keys():
            yield renamed, (f"{theirs} read as {ours}",)


def _children_by_number(
    weights: Weights, wanted: Weights, layers: Sequence[str]
) -> Iterator[tuple[str, Weights, list[str]]]:
    """Yield prefixes of numbers, weights with the children's names, and notes on missing layers.

    The k-th number in a file stands for the k-th child with weights, because activations have none.
    """
    children = unique(name.partition(".")[0] for name in wanted)
    numbers: dict[str, set[str]] = {}
    for key in weights:
        parts = key.split(".")
        for cut, part in enumerate(parts[:-1]):
            if part.isdecimal():
                numbers.setdefault("".join(f"{before}." for before in parts[:cut]), set()).add(part)
    for prefix, found in numbers.items():
        child = dict(zip(sorted(found, key=int), children, strict=False))
        number_of = {name: int(number) for number, name in child.items()}
        missed = [  # layers without weights that the Sequential lacks, such as a ReLU
            layer
            for before, layer, after in zip(layers, layers[1:], layers[2:], strict=False)
            if layer not in children and number_of.get(after, 0) == number_of.get(before, 0) + 1
        ]
        lacking = [f"which has no {layer}, as this encoder has" for layer in missed]
        named = {}
        for key, value in weights.items():
            number, _, rest = key.removeprefix(prefix).partition(".")
            if key.startswith(prefix) and number in child:
                named[f"{prefix}{child[number]}.{rest}"] = value
        if any(key.removeprefix(prefix) in wanted for key in named):
            yield prefix, named, lacking


def names_target(path: str) -> bool:
    """Return whether a dotted name, with the keys that lead to it, is one of a target network.

    Example:
        >>> [names_target(name) for name in ("module.encoder_k.", "teacher: backbone.", "encoder.")]
        [True, True, False]
    """
    return names_any(path, TARGET_WORDS)


def names_any(path: str, words: frozenset[str]) -> bool:
    """Return whether a dotted name, with the keys that lead to it, contains one of some words."""
    return not words.isdisjoint(re.split(r"[._: *]+", path))
