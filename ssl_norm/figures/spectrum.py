"""The eigenvalues of the covariance of directions, at several steps and over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_norm.figures.style import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MOST_LINES = 12
FLOOR = 1e-12  # eigenvalues of directions below this are rounding error
BANDS = (1, 4, 16, 64)  # last dimension of each band of the view over time


def spectrum_figure(steps: Sequence[int], spectra: Sequence[ArrayLike]) -> "Figure":
    """Draw spectra as lines of eigenvalue over index, and the variance of groups of dimensions over steps.

    Above, a line a step, bright to dark as the run goes on: a line that falls early shows dimensional collapse, one
    that lies low as a whole complete collapse. Below, the variances stacked, strongest dimension at the bottom: the
    height is the total variance, the squared distance of directions from their mean (near 1 where they point
    everywhere, 0 at complete collapse), and a first band that fills it is dimensional collapse.

    Args:
        steps: ascending, of each spectrum.
        spectra: of each step, eigenvalues of the covariance of l2-normalized embeddings, (D,), descending, in [0, 1].
            At most 12 are drawn as lines, evenly chosen, the first and the last among them; those under 1e-12 are
            drawn at 1e-12.

    Raises:
        ValueError: no spectra, not one a step, a spectrum that is not (D >= 1,) or has values that are not finite.
    """
    rows = checked_spectra(steps, spectra)
    with drawing(5.2, 6.4) as figure:
        upper, lower = figure.subplots(2, 1)
        draw_lines(upper, steps, rows)
        draw_bands(lower, steps, rows)
        figure.legend(
            *lower.get_legend_handles_labels(),
            title="dimensions, strongest first",
            loc="outside lower center",
            ncols=len(BANDS) + 1,
            handlelength=1.2,
            columnspacing=1.2,
        )
    return figure


def checked_spectra(
    steps: Sequence[int], spectra: Sequence[ArrayLike]
) -> list[NDArray[np.float64]]:
    """Return the spectra as arrays, negative rounding errors as 0."""
    if not spectra or len(steps) != len(spectra):
        raise ValueError(
            f"spectra: one a step and at least one expected, got {len(spectra)} for {len(steps)} steps"
        )
    rows = [np.asarray(spectrum, dtype=np.float64) for spectrum in spectra]
    for step, row in zip(steps, rows, strict=True):
        if row.ndim != 1 or not row.size or not np.isfinite(row).all():
            raise ValueError(
                f"spectra: (D >= 1,) finite eigenvalues expected at step {step}, got shape {row.shape} with "
                f"{np.count_nonzero(~np.isfinite(row))} values that are not finite"
            )
    return [row.clip(0) for row in rows]


def draw_lines(axes: "Axes", steps: Sequence[int], rows: Sequence[NDArray[np.float64]]) -> None:
    """Draw eigenvalue over index, colour telling the step."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(steps[0], max(steps[-1], steps[0] + 1)), bright_to_dark())
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), MOST_LINES)).round().astype(int)
    for index in chosen:
        axes.plot(
            np.arange(1, rows[index].size + 1),
            rows[index].clip(FLOOR),
            color=scale.to_rgba(steps[index]),
            linewidth=2.4 if index == chosen[-1] else 1.2,
            marker="o" if rows[index].size == 1 else "",
        )
    axes.set(yscale="log", xlabel="index of the eigenvalue", ylabel="eigenvalue of the covariance")
    axes.set_title(f"spectrum of directions, last: step {steps[-1]}")
    axes.margins(x=0)
    axes.grid()
    if len(rows) > 1:
        axes.figure.colorbar(scale, ax=axes, label="step", pad=0.02)


def draw_bands(axes: "Axes", steps: Sequence[int], rows: Sequence[NDArray[np.float64]]) -> None:
    """Stack the variance of groups of dimensions over steps."""
    dimensions = max(row.size for row in rows)
    ends = [end for end in BANDS if end < dimensions] + [dimensions]
    starts = [0, *ends[:-1]]
    bands = [
        [row[start:end].sum() for row in rows] for start, end in zip(starts, ends, strict=True)
    ]
    names = [
        f"{start + 1}" if end == start + 1 else f"{start + 1} to {end}"
        for start, end in zip(starts, ends, strict=True)
    ]
    colours = bright_to_dark()(np.linspace(1, 0, len(bands)))
    x, values = (list(steps), bands) if len(steps) > 1 else both_ends(steps[0], bands)
    axes.stackplot(x, values, labels=names, colors=colours, edgecolor="white", linewidth=0.5)
    axes.set(xlabel="step", ylabel="variance (1: no common direction)")
    axes.set_title("variance by dimension, over time")
    axes.set_ylim(0, max(1.0, *(sum(column) for column in zip(*values, strict=True))))
    axes.margins(x=0)
    axes.grid()
    if len(steps) == 1:
        axes.set_xticks(list(steps))


def both_ends(step: int, bands: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    """Return a single step as an interval around it, which has an area to fill."""
    return [step - 0.5, step + 0.5], [band * 2 for band in bands]


def bright_to_dark() -> "Colormap":
    """Return viridis from its dark yellow-green to its violet, less the end that white paper swallows."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0.9, 0, 256)))
