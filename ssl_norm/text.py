"""Values, settings, tables and statistics as text."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

# Control characters, characters that hide or reorder others, and bytes that are not UTF-8.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|([\ud800-\udfff])"
)


def printable(text: str | Path) -> str:
    r"""Return text in one line with escaped control characters, which any stream can write.

    Example:
        >>> print(printable("a\nb\x1b[31m"), printable(Path("caf\udce9.png")))
        a\nb\x1b[31m caf�.png
    """
    return _CONTROLS.sub(
        lambda found: "�" if found[1] else found[0].encode("unicode_escape").decode(), str(text)
    )


def as_typed(value: Any, text: Callable[[str], str] = str) -> str:
    """Return a value of YAML in Hydra's grammar, as a user would type it.

    Example:
        >>> as_typed({"name": "bn", "batch_size": 4}), as_typed([1, None, True]), as_typed("gn+ws")
        ('{name: bn, batch_size: 4}', '[1, null, true]', 'gn+ws')
    """
    if isinstance(value, Mapping):
        items = (f"{key}: {as_typed(item, text)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_typed(item, text) for item in value) + "]"
    if isinstance(value, str):
        return text(value)
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def flatten(
    settings: Mapping[str, Any], prefix: str = "", *, whole: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """Return nested settings by dotted key; a mapping stays one value if `whole` accepts its key.

    Example:
        >>> flatten({"norm": {"encoder": "bn", "sync": True}, "betas": [0.9, 0.99]})
        {'norm.encoder': 'bn', 'norm.sync': True, 'betas': [0.9, 0.99]}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and not (whole and whole(name)):
            flat |= flatten(value, f"{name}.", whole=whole)
        else:
            flat[name] = value
    return flat


def finite_or_none(content: Any) -> Any:
    """Return nested content with None instead of NaN and infinities, which JSON lacks.

    Example:
        >>> finite_or_none({"loss": float("nan"), "ranks": (1.5, float("inf")), "step": 3})
        {'loss': None, 'ranks': [1.5, None], 'step': 3}
    """
    if isinstance(content, Mapping):
        return {key: finite_or_none(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return list(map(finite_or_none, content))
    return None if isinstance(content, float) and not isfinite(content) else content


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equal length as lines of aligned columns.

    Example:
        >>> print(text_table([("norm", "options"), ("gn", "groups")]))
        norm  options
        gn    groups
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: `1 run`, `2 runs`; `plural` is for irregular nouns."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def unique(names: Iterable[str]) -> list[str]:
    """Return the names without repeats, in the order of first occurrence."""
    return list(dict.fromkeys(names))


def finite(value: object) -> float | None:
    """Return a finite number unchanged; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return value


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type."""
    lines = (getattr(error, "strerror", None) or str(error)).splitlines()
    return str(lines[0]) if lines else type(error).__name__


class Statistic(NamedTuple):
    """Mean and sample standard deviation of some values."""

    mean: float | None  # mean of the finite values; None if there are none
    deviation: float | None  # divided by n - 1; None for fewer than two finite values
    present: int  # number of finite values
    missing: int  # number of values that are None, NaN or infinite

    def mean_sd(self, decimals: int, sign: str = "") -> str:
        """Return `mean +- deviation`, `mean` for one value, or `-` for none."""
        if self.mean is None:
            return "-"
        spread = "" if self.deviation is None else f" +- {self.deviation:.{decimals}f}"
        return f"{self.mean:{sign}.{decimals}f}{spread}"

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % confidence interval of the mean (t distribution), or None."""
        from scipy.special import stdtrit

        if self.deviation is None:
            return None
        return float(stdtrit(self.present - 1, 0.975)) * self.deviation / sqrt(self.present)

    def mean_interval(self, decimals: int) -> str:
        """Return `mean (low to high)` with the 95 % confidence interval if there is one.

        Example:
            >>> statistic([1.0, 2.0, 3.0]).mean_interval(1)
            '2.0 (-0.5 to 4.5)'
        """
        if self.mean is None or self.half_width is None:
            return self.mean_sd(decimals)
        ends = (self.mean + sign * self.half_width for sign in (-1, 1))
        low, high = (f"{end:.{decimals}f}" for end in ends)
        return f"{self.mean:.{decimals}f} ({low} to {high})"

    def text(self, decimals: int) -> str:
        """Return `mean +- deviation (n)`, `(n of m)` if values are missing, or `-` if all are.

        Example:
            >>> statistic([0.25, 0.75, None]).text(3)
            '0.500 +- 0.354 (2 of 3)'
        """
        of = f" of {self.present + self.missing}" if self.missing else ""
        return "-" if self.mean is None else f"{self.mean_sd(decimals)} ({self.present}{of})"


def statistic(values: Sequence[float | None]) -> Statistic:
    """Return mean, sample standard deviation and counts; None, NaN and infinity are missing."""
    present = [value for value in values if value is not None and isfinite(value)]
    return Statistic(
        mean=fmean(present) if present else None,
        deviation=stdev(present) if len(present) > 1 else None,
        present=len(present),
        missing=len(values) - len(present),
    )
