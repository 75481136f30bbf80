"""Tables of plain text."""

from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equally many cells as lines, with columns as wide as their widest cell.

    Example:
        >>> print(text_table([("norm", "options"), ("gn", "groups")]))
        norm  options
        gn    groups
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
