"""What all figures share: an empty white figure, fonts, colours that survive print and colour blindness."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
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
# Okabe & Ito's palette, safe for the common kinds of colour blindness.
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#666666"
VERDICT_COLOURS = MappingProxyType(
    {"healthy": GREEN, "dimensional": ORANGE, "complete": VERMILION, "uncertain": GREY}
)


@contextmanager
def drawing(width: float, height: float) -> Iterator["Figure"]:
    """Make an empty figure, drawn on with this package's fonts and colours whatever the user's defaults.

    Args:
        width: in inches.
        height: in inches.
    """
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.figure import Figure

    keep = {"backend", "backend_fallback", "interactive", "toolbar", "timezone", "datapath"}
    defaults: dict[Any, Any] = {
        key: rcParamsDefault[key] for key in rcParamsDefault if key not in keep
    }
    with rc_context({**defaults, **STYLE}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        for axes in figure.axes:  # ticks are made later, when the figure is rendered
            axes.tick_params(color="#444444", labelcolor="black", labelsize=9)
