"""Report of a norm replacement."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ssl_norm.norms.spec import NormSpec
from ssl_norm.norms.swap.transfer_state import STATISTICS
from ssl_norm.text import text_table


class LayerChange(NamedTuple):
    """Change of one norm layer.

    Attributes:
        name: of the layer in its model.
        old: class of the old norm.
        channels: of the norm.
        replaced: whether a new layer takes its place; else it stays, and `options` change.
        options: the options that change on a layer that stays, as `name=value`.
        carried: names of the parameters and statistics that pass to the new layer.
        dropped: names that have no place in the new layer.
        initial: names that only the new layer has, at their initial values.
        back: norm whose name alone brings the layer back exactly; None: no norm does.
        needs_space: whether the new layer refuses inputs with one position, if no example showed
            that there are none.
        assumed: whether the first axis was taken for that of the samples, as nothing told it.
    """

    name: str
    old: str
    channels: int
    replaced: bool = False
    options: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()
    back: str | None = None
    needs_space: bool = False
    assumed: bool = False


@dataclass(frozen=True)
class Replacement:
    """Result or, with `dry_run`, plan of :func:`ssl_norm.norms.swap.replace.replace_norms`.

    Attributes:
        norm: the requested norm.
        changes: one for each norm layer, in the model's order.
        standardized: names of the layers whose weights become standardized.
        plain: names of the layers whose weights are no longer standardized.
        weighted: number of convolutions and linear layers of the model.
        left: names of layers that were to be kept, or of an unknown kind that is called a norm.
        dry_run: whether nothing was changed.
    """

    norm: NormSpec
    changes: tuple[LayerChange, ...]
    standardized: tuple[str, ...]
    plain: tuple[str, ...]
    weighted: int
    left: tuple[str, ...]
    dry_run: bool = False

    @property
    def replaced(self) -> tuple[str, ...]:
        """Names of the layers that were replaced."""
        return tuple(change.name for change in self.changes if change.replaced)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the layers that were that norm already."""
        return tuple(change.name for change in self.changes if not change.replaced)

    @property
    def way_back(self) -> str | None:
        """Name of the norm that gives the network back exactly, None if no norm does."""
        names = {change.back for change in self.changes if change.replaced or change.options}
        only = names.pop() if len(names) == 1 else None
        return only if len(self.replaced) == len(self.changes) else None

    @property
    def kinds(self) -> Mapping[str, int]:
        """Number of layers of each class that were found."""
        return dict(Counter(change.old for change in self.changes))

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        text = "dry run, nothing changed: " if self.dry_run else ""
        text += f"{self.norm}: {len(self.replaced)} norm layers replaced, {len(self.kept)} kept"
        text += f" (of {kinds})" if kinds else ""
        if self.standardized:
            text += f"; weights of {len(self.standardized)} of {self.weighted} layers standardized"
        if self.plain:
            text += (
                f"; weights of {len(self.plain)} of {self.weighted} layers no longer standardized"
            )
        dropped = _by_kind((change.old, change.dropped) for change in self.changes)
        if dropped:
            text += f"; dropped: {'; '.join(dropped)}"
        initial = _by_kind((self.norm.name, change.initial) for change in self.changes)
        if initial:
            text += f"; at initial values: {'; '.join(initial)}"
        if self.norm.nonlinear:
            text += f"; {self.norm.name} is nonlinear itself, activations after it stay"
        if self.left:
            text += f"; {len(self.left)} left alone or of an unknown kind ({self.left[0]}, ...)"
        if self.replaced:
            text += f"; {self._way_back_text()}"
        assumed = sum(change.assumed for change in self.changes)
        if assumed:
            text += f"; in {assumed} the first axis is taken for that of the samples"
        small = [change.name for change in self.changes if change.needs_space]
        if small:
            text += f"; {len(small)} need more than one position per sample ({small[0]}, ...)"
        return text

    def _way_back_text(self) -> str:
        if self.way_back:
            return f"'{self.way_back}' gives the network back exactly"
        lost = [change.name for change in self.changes if change.replaced and not change.back]
        if lost:
            return f"no norm gives {len(lost)} of these layers back exactly ({lost[0]}, ...)"
        return "no single norm gives the network back"

    def table(self) -> str:
        """Return a line for each norm layer, then one for all."""
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


def _listed(names: tuple[str, ...]) -> str:
    """Return names in a row, those of running statistics as one."""
    if set(names) & set(STATISTICS[:3]):
        names = tuple("running statistics" if name in STATISTICS else name for name in names)
    return ", ".join(dict.fromkeys(names))


def _by_kind(found: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    """Return a phrase for each kind of layer and the names it lost or gained, with their number."""
    counts = Counter((_listed(names), kind) for kind, names in found if names)
    return [f"{listed} of {count} {kind}" for (listed, kind), count in counts.items()]
