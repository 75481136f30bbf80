import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from ssl_norm.figures import cosine_figure, layer_figure, pixels, spectrum_figure
from ssl_norm.monitors.layers import LayerRow

RUN = [
    {"step": step, "positive_cosine": 0.9, "negative_cosine": 0.2, "feature_std": 0.8}
    for step in (1, 2)
]


def figures():
    return [
        cosine_figure([("a", RUN)]),
        spectrum_figure([1, 2], [[0.5, 0.1], [0.4, 0.2]]),
        layer_figure([LayerRow(1, "stem", 0.9, 0.2, 0.8, 3.0, 0.1)]),
    ]


def test_pictures_are_opaque_on_white_whatever_the_user_s_style():
    usual = [pixels(figure) for figure in figures()]
    with mpl.rc_context({"figure.facecolor": "black", "font.size": 30, "text.color": "white"}):
        dark = [pixels(figure) for figure in figures()]
        assert mpl.rcParams["font.size"] == 30
    for picture, same in zip(usual, dark, strict=True):
        assert picture.dtype == np.uint8
        assert picture[0, 0].tolist() == [255, 255, 255]
        assert (picture < 100).any()
        assert np.array_equal(picture, same)


def test_pixels_are_as_many_as_asked_for():
    (height, width, colours) = pixels(figures()[0], dpi=50).shape
    assert (height, width, colours) == (180, 350, 3)


def test_pyplot_is_left_alone():
    before = "matplotlib.pyplot" in sys.modules
    for figure in figures():
        pixels(figure)
    assert ("matplotlib.pyplot" in sys.modules) == before


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_no_backend_is_needed_and_the_user_s_stays(backend):
    script = (
        "import os; from ssl_norm.figures import pixels, spectrum_figure;"
        "pixels(spectrum_figure([1], [[0.5]])); print(os.environ['MPLBACKEND'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "MPLBACKEND": backend},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, backend), ended.stderr
