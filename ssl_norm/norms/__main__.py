"""Print every norm with its options and equation: `python -m ssl_norm.norms`."""

from ssl_norm.norms.registry import NORMS


def norm_table() -> str:
    """Return a line per norm: name, options, whether it mixes samples in training, equation."""
    rows = [("norm", "options", "mixes samples", "equation")]
    for name, entry in NORMS.items():
        mixes = "yes" if entry.batch_statistics else "no"
        rows.append((name, ", ".join(entry.options) or "-", mixes, entry.equation))
    widths = [max(len(row[column]) for row in rows) for column in range(3)] + [0]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(cells) for cells in padded)


if __name__ == "__main__":
    print(norm_table())
    print()
    print("Any of them as name+ws standardizes the weights of the layers that the norm follows.")
    print("With options: norm.encoder='{name: gn, groups: 16}'")
