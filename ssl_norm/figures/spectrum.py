"""Figure of the spectrum of L2-normalized embeddings, at several steps and over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_norm.figures.style import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_Spectra = Sequence[NDArray[np.float64]]
_MOST_LINES = 12
FLOOR = 1e-12  # lowest eigenvalue on the log scale; smaller ones are rounding errors
_BANDS = (1, 4, 16, 64)  # last dimension of each band


def spectrum_figure(steps: Sequence[int], spectra: Sequence[ArrayLike]) -> "Figure":
    """Draw spectra as lines of eigenvalue over index, above the variance of bands over steps.

    The upper panel has one line per step, from bright to dark. A line that falls early shows
    dimensional collapse, and a line that is low everywhere shows complete collapse. The lower panel
    stacks the variances of bands of dimensions, with the strongest dimension at the bottom. Their
    total is the mean squared distance of L2-normalized embeddings from their mean: near 1 if the
    embeddings have no common direction, 0 at complete collapse. At dimensional collapse, nearly all
    of it is in the first band.

    Args:
        steps: ascending steps, one for each spectrum.
        spectra: for each step, eigenvalues of the covariance of L2-normalized embeddings, (D,),
            descending, in [0, 1]. At most 12 are drawn as lines, evenly spaced from the first to
            the last; values below 1e-12 are drawn at 1e-12.

    Raises:
        ValueError: no spectra, not one per step, or one that is not (D >= 1,) or not finite.
    """
    rows = _checked_spectra(steps, spectra)
    with drawing(5.2, 6.4) as figure:
        upper, lower = figure.subplots(2, 1)
        _draw_lines(upper, steps, rows)
        _draw_bands(lower, steps, rows)
        style = {"ncols": len(_BANDS) + 1, "handlelength": 1.2, "columnspacing": 1.2}
        named, title = lower.get_legend_handles_labels(), "dimensions, strongest first"
        figure.legend(*named, title=title, loc="outside lower center", **style)
    return figure


def _checked_spectra(steps: Sequence[int], spectra: Sequence[ArrayLike]) -> _Spectra:
    """Return the spectra as arrays, in which negative rounding errors are 0."""
    if not spectra or len(steps) != len(spectra):
        got = f"got {len(spectra)} for {len(steps)} steps"
        raise ValueError(f"spectra: one for each step expected, and at least one, {got}")
    rows = [np.asarray(spectrum, dtype=np.float64) for spectrum in spectra]
    for step, row in zip(steps, rows, strict=True):
        if row.ndim != 1 or not row.size or not np.isfinite(row).all():
            raise ValueError(
                f"spectra: (D >= 1,) finite eigenvalues expected at step {step}, got shape "
                f"{row.shape} with {np.count_nonzero(~np.isfinite(row))} values that are not finite"
            )
    return [row.clip(0) for row in rows]


def _draw_lines(axes: "Axes", steps: Sequence[int], rows: _Spectra) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(steps[0], max(steps[-1], steps[0] + 1)), _bright_to_dark())
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_LINES)).round().astype(int)
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


def _draw_bands(axes: "Axes", steps: Sequence[int], rows: _Spectra) -> None:
    dimensions = max(row.size for row in rows)
    ends = [end for end in _BANDS if end < dimensions] + [dimensions]
    bands = list(zip([0, *ends[:-1]], ends, strict=True))
    names = [f"{start + 1}" + f" to {end}" * (end > start + 1) for start, end in bands]
    values = [[row[start:end].sum() for row in rows] for start, end in bands]
    x: list[float] = list(steps)
    if len(steps) == 1:  # draw an interval around the step, because a point has no area to fill
        x, values = [steps[0] - 0.5, steps[0] + 0.5], [band * 2 for band in values]
    colours = _bright_to_dark()(np.linspace(1, 0, len(bands)))
    axes.stackplot(x, values, labels=names, colors=colours, edgecolor="white", linewidth=0.5)
    axes.set(xlabel="step", ylabel="variance (1: no common direction)")
    axes.set_title("variance by dimension, over time")
    axes.set_ylim(0, max(1.0, *(sum(column) for column in zip(*values, strict=True))))
    axes.margins(x=0)
    axes.grid()
    if len(steps) == 1:
        axes.set_xticks(list(steps))


def _bright_to_dark() -> "Colormap":
    """Return viridis from yellow-green to violet, without its end that is pale on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0.9, 0, 256)))
