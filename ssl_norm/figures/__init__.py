"""Functions that draw collapse as matplotlib figures.

No function uses pyplot, whose state is global. :func:`save_figure` writes a figure to a file, and
:func:`pixels` returns it as an array.
"""

from ssl_norm.figures.cosine import cosine_figure
from ssl_norm.figures.layers import layer_figure
from ssl_norm.figures.spectrum import spectrum_figure
from ssl_norm.figures.style import pixels, save_figure

__all__ = ["cosine_figure", "layer_figure", "pixels", "save_figure", "spectrum_figure"]
