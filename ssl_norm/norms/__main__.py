"""Print every norm with its options and equation: `python -m ssl_norm.norms`."""

from ssl_norm.norms.registry import NORMS


def norm_table() -> str:
    """Return one line per norm: its name, its options, whether it mixes samples in training, and its equation."""
    rows = [("norm", "options", "mixes samples", "equation")]
    rows += [
        (name, ", ".join(entry.options) or "-", "yes" if entry.batch_statistics else "no", entry.equation)
        for name, entry in NORMS.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]])
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(norm_table())
    print()
    print("Any of them as name+ws standardizes the weights of the layers that the norm follows.")
    print("With options: norm.encoder='{name: gn, groups: 16}'")
