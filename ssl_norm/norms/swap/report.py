"""Report of a norm replacement."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ssl_norm.norms.spec import NormSpec
from ssl_norm.norms.swap.find import STATISTICS
from ssl_norm.text import text_table


class LayerChange(NamedTuple):
    """Change of one norm layer."""

    name: str  # of the layer in its model
    old: str  # class of the old norm
    channels: int  # of the norm
    replaced: bool = False  # False: the layer stays
    options: tuple[str, ...] = ()  # new options of a layer that stays, as `name=value`
    carried: tuple[str, ...] = ()  # parameters and statistics that the new layer takes over
    dropped: tuple[str, ...] = ()  # names that the new layer does not have
    initial: tuple[str, ...] = ()  # names that only the new layer has, at their initial values
    back: str | None = None  # name of the norm that restores the layer exactly; None: none does
    needs_space: bool = False  # whether one position is too few, and no example shows more
    assumed: bool = False  # whether the first axis is assumed to be the samples


@dataclass(frozen=True)
class Replacement:
    """Result or, with `dry_run`, plan of :func:`ssl_norm.norms.swap.replace.replace_norms`."""

    norm: NormSpec  # the requested norm
    changes: tuple[LayerChange, ...]  # one for each norm layer, in the model's order
    standardized: tuple[str, ...]  # layers whose weights become standardized
    plain: tuple[str, ...]  # layers whose weights are no longer standardized
    weighted: int  # number of convolutions and linear layers of the model
    left: tuple[str, ...]  # layers of `keep=`, and layers of unknown kind that are called a norm
    dry_run: bool = False  # whether nothing was changed

    @property
    def replaced(self) -> tuple[str, ...]:
        """Names of the layers that were replaced."""
        return tuple(change.name for change in self.changes if change.replaced)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the layers that already were the requested norm."""
        return tuple(change.name for change in self.changes if not change.replaced)

    @property
    def way_back(self) -> str | None:
        """Name of the norm that restores the network exactly, None if no norm does."""
        names = {change.back for change in self.changes if change.replaced or change.options}
        only = names.pop() if len(names) == 1 else None
        return only if len(self.replaced) == len(self.changes) else None

    @property
    def kinds(self) -> Mapping[str, int]:
        """Number of layers of each class that were found."""
        return dict(Counter(change.old for change in self.changes))

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        dropped = "; ".join(_by_kind((change.old, change.dropped) for change in self.changes))
        initial = "; ".join(_by_kind((self.norm.name, change.initial) for change in self.changes))
        assumed = sum(change.assumed for change in self.changes)
        small = [change.name for change in self.changes if change.needs_space]
        weights = f"of {self.weighted} layers"
        sentences: list[tuple[object, str]] = [
            (True, "dry run, nothing changed: " * self.dry_run
             + f"{self.norm}: {len(self.replaced)} norm layers replaced, {len(self.kept)} kept"
             + f" (of {kinds})" * bool(kinds)),
            (self.standardized, f"weights of {len(self.standardized)} {weights} standardized"),
            (self.plain, f"weights of {len(self.plain)} {weights} no longer standardized"),
            (dropped, f"dropped: {dropped}"),
            (initial, f"at initial values: {initial}"),
            (self.norm.nonlinear,
             f"{self.norm.name} is nonlinear itself, activations after it stay"),
            (self.left, f"{len(self.left)} kept on request or of unknown kind {_first(self.left)}"),
            (self.replaced, self._way_back_text()),
            (assumed, f"in {assumed} the first axis is assumed to be the samples"),
            (small, f"{len(small)} need more than one position per sample {_first(small)}"),
        ]  # fmt: skip
        return "; ".join(sentence for holds, sentence in sentences if holds)

    def _way_back_text(self) -> str:
        if self.way_back:
            return f"'{self.way_back}' restores the network exactly"
        lost = [change.name for change in self.changes if change.replaced and not change.back]
        if lost:
            return f"no norm restores {len(lost)} of these layers exactly {_first(lost)}"
        return "no single norm restores the network"

    def table(self) -> str:
        """Return a line for each norm layer, and a summary."""
        header = ("layer", "from", "to", "carried", "dropped", "at initial values")
        rows = [
            (
                change.name,
                f"{change.old}({change.channels})",
                str(self.norm) if change.replaced else ", ".join(("kept", *change.options)),
                *(
                    _listed(names) or "-"
                    for names in (change.carried, change.dropped, change.initial)
                ),
            )
            for change in self.changes
        ]
        return f"{text_table([header, *rows])}\n\n{self}"


def _first(names: Sequence[str]) -> str:
    return f"({names[0]}, ...)" if names else ""


def _listed(names: tuple[str, ...]) -> str:
    """Join names by commas, with `running statistics` for these together."""
    if set(names) & set(STATISTICS[:3]):
        names = tuple("running statistics" if name in STATISTICS else name for name in names)
    return ", ".join(dict.fromkeys(names))


def _by_kind(found: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Return a phrase for each kind of layer and the names it lost or gained, with their number."""
    counts = Counter((_listed(names), kind) for kind, names in found if names)
    return [f"{listed} of {count} {kind}" for (listed, kind), count in counts.items()]
