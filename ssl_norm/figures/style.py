"""Style of all figures: background, fonts, and colours for print and for colour blindness."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssl_norm.files import replaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # names may contain a `$`
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "text.color": "black",
    "axes.labelcolor": "black",
    "axes.edgecolor": "#444444",
    "axes.grid": False,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
}
# Okabe & Ito's palette, for the common kinds of colour blindness.
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#666666"
PURPLE = "#CC79A7"
VERDICT_COLOURS = MappingProxyType(
    {
        "healthy": GREEN,
        "dimensional": ORANGE,
        "collapsing": PURPLE,
        "complete": VERMILION,
        "uncertain": GREY,
    }
)


@contextmanager
def drawing(width: float, height: float) -> Iterator["Figure"]:
    """Yield an empty figure of some inches with this package's style, not the user's defaults."""
    _import_matplotlib()
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        for axes in figure.axes:  # ticks are made later, when the figure is rendered
            axes.tick_params(color="#444444", labelcolor="black", labelsize=9)


def _import_matplotlib() -> None:
    """Import matplotlib, even if MPLBACKEND names a backend that is not installed, as in notebooks.

    Figures of this package need no backend. Other figures have that of MPLBACKEND if it exists.
    """
    backend = os.environ.pop("MPLBACKEND", "") if "matplotlib" not in sys.modules else ""
    import matplotlib as mpl

    if backend:
        os.environ["MPLBACKEND"] = backend
        with suppress(ValueError):
            mpl.rcParams["backend"] = backend


def save_figure(figure: "Figure", path: str | Path, dots_per_inch: int = 120) -> None:
    """Write a figure in the format of the path's suffix, or as PNG if matplotlib lacks it."""
    path = Path(path)
    kind = path.suffix[1:].lower()
    with replaced(path) as file:
        known = kind in figure.canvas.get_supported_filetypes()
        figure.savefig(file, format=kind if known else "png", dpi=dots_per_inch)


def write_number(
    axes: "Axes", cells: "ScalarMappable", place: tuple[float, float], value: float, text: str
) -> None:
    """Write a value into its cell of a heat map, in black on bright and in white on dark cells."""
    brightness = np.dot(cells.to_rgba(np.array([[value]]))[0, 0, :3], (0.299, 0.587, 0.114))
    colour = "black" if brightness > 0.5 else "white"
    axes.text(*place, text, ha="center", va="center", fontsize=8, color=colour)


def pixels(figure: "Figure", dpi: float = 110) -> NDArray[np.uint8]:
    """Return any figure as RGB pixels (height, width, 3), and set its resolution to `dpi`.

    Example:
        >>> from matplotlib.figure import Figure
        >>> pixels(Figure(figsize=(2, 1)), dpi=50).shape
        (50, 100, 3)
    """
    _import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
