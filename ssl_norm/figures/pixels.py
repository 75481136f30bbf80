"""A figure as an array of pixels."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pixels(figure: "Figure", dpi: float = 110) -> NDArray[np.uint8]:
    """Return a figure as RGB pixels, drawn by matplotlib's Agg renderer.

    Args:
        figure: any figure; its resolution is set to `dpi`.
        dpi: pixels per inch.

    Returns:
        (height, width, 3), uint8.

    Example:
        >>> from matplotlib.figure import Figure
        >>> pixels(Figure(figsize=(2, 1)), dpi=50).shape
        (50, 100, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
