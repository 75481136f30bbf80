"""Figures of collapse, as matplotlib figures of plain data.

No function uses pyplot, whose state is global. Save a figure with `figure.savefig(path, dpi=...)`,
or turn it into an array by :func:`pixels`.
"""

from ssl_norm.figures.cosine import cosine_figure
from ssl_norm.figures.layers import layer_figure
from ssl_norm.figures.spectrum import spectrum_figure
from ssl_norm.figures.style import pixels

__all__ = ["cosine_figure", "layer_figure", "pixels", "spectrum_figure"]
