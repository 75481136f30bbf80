"""Table of all monitors with inputs, cost and value at collapse: python -m ssl_norm.monitors."""

import sys
from collections.abc import Sequence

from ssl_norm.exit_code import exit_code_of, wants_help
from ssl_norm.monitors.declare import load_monitors
from ssl_norm.text import text_table

_INPUTS = {
    "embeddings": "(N, D)",
    "pair": "two (N, D)",
    "views": "(n, q, D)",
    "tokens": "(N, T, D)",
}
_PREPARES = {"both": "normalizes, centres", "nothing": "-"}  # else as declared
_LEGEND = """\
A function (from ssl_norm.monitors import rank_me) takes raw embeddings. The column `first` is the
preparation inside the function: it L2-normalizes each row, or centres the rows. z: the prepared
rows, s: their singular values. CollapseMonitor and tools/diagnose.py pass L2-normalized embeddings
to every function, so that ranks ignore differences of lengths (LiDAR, in diagnose only, gets raw
embeddings). For the values of a run: rank_me(torch.nn.functional.normalize(embeddings)).
Costs: linear O(N D), quadratic O(N D^2) or O(N^2 D), spectral O(N D min(N, D))."""


def monitor_table() -> str:
    """Return the declarations of all monitors as a table, one line per monitor."""
    ends = ("at collapse", "at an even spread")
    rows = [("monitor", "of", "first", "cost", *ends, "equation", "source")]
    for name, monitor in load_monitors().items():
        entry = monitor.declaration
        given = (_INPUTS[entry.inputs], _PREPARES.get(entry.prepares, entry.prepares))
        ends = (f"{entry.at_collapse:g}", entry.at_even)
        rows.append((name, *given, entry.cost, *ends, entry.equation, entry.source))
    return text_table(rows)


def main(arguments: Sequence[str]) -> int:
    """Print the table, and return the exit code."""
    is_help = wants_help(arguments, alone=True)
    print(__doc__ if is_help else f"{monitor_table()}\n\n{_LEGEND}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
