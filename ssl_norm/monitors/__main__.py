"""Print every monitor with what it takes, costs and reads at collapse: python -m ssl_norm.monitors."""

import sys
from collections.abc import Sequence

from ssl_norm.errors import UserError
from ssl_norm.monitors.registry import MONITORS
from ssl_norm.text_table import text_table

INPUTS = {"embeddings": "(N, D)", "pair": "two (N, D)", "views": "(n, q, D)"}


def monitor_table() -> str:
    """Return a line per monitor: name, inputs, cost, values at the two ends, equation, source."""
    rows = [("monitor", "of", "cost", "at collapse", "at an even spread", "equation", "source")]
    for name, entry in MONITORS.items():
        collapse = f"{entry.at_collapse:g}"
        ends = (collapse, entry.at_even)
        rows.append((name, INPUTS[entry.inputs], entry.cost, *ends, entry.equation, entry.source))
    return text_table(rows)


def main(arguments: Sequence[str]) -> int:
    """Print the table, and return the exit code."""
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    if arguments:
        print(f"error: no arguments expected, got {' '.join(arguments)}", file=sys.stderr)
        return UserError.exit_code
    print(monitor_table())
    print()
    print("z: l2-normalized rows; s: singular values. Costs: linear O(N D), quadratic O(N D^2) or")
    print(
        "O(N^2 D), spectral O(N D min(N, D)). As a function: from ssl_norm.monitors import rank_me"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
