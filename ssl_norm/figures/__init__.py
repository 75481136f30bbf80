"""Pictures of collapse: plain data in, a matplotlib Figure out; never pyplot, so that nothing global changes.

A figure is saved with `figure.savefig(path, dpi=...)`, or turned into an array by :func:`pixels`.
"""

from ssl_norm.figures.cosine import cosine_figure
from ssl_norm.figures.layers import layer_figure
from ssl_norm.figures.pixels import pixels
from ssl_norm.figures.spectrum import spectrum_figure

__all__ = ["cosine_figure", "layer_figure", "pixels", "spectrum_figure"]
