from math import nan

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from ssl_norm.figures import layer_figure
from ssl_norm.monitors.layers import LayerRow


def row(step, layer, cosine=0.5, gradient=0.1):
    return LayerRow(step, layer, 0.9, cosine, 0.4, 8.0, gradient)


def meshes(figure):
    return [axes.collections[0] for axes in figure.axes if axes.get_title()]


def test_layers_stand_in_their_order_over_steps_on_a_scale_from_0_to_1():
    cosines = (("stem", 0.2), ("head", 0.7))
    figure = layer_figure([row(10 * step, *one) for step in range(1, 9) for one in cosines])
    cosine, gradient = meshes(figure)
    assert cosine.get_array().tolist() == [[0.2] * 8, [0.7] * 8]
    assert cosine.get_clim() == (0, 1)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stem", "head"]
    assert axes.yaxis_inverted()
    assert isinstance(gradient.norm, LogNorm)
    assert axes.get_xlim() == (5, 85)


def test_few_steps_carry_numbers_and_unmeasured_cells_do_not():
    rows = [row(1, "stem", 0.25), row(1, "head", nan), row(2, "stem", -0.125)]
    figure = layer_figure([one._replace(gradient_norm=nan) for one in rows])
    (mesh,) = meshes(figure)
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[False, False], [True, True]]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.250", "-0.125"]


@pytest.mark.parametrize("value", ["positive_cosine", "feature_std", "rank_me"])
def test_every_value_of_a_layer_can_be_drawn(value):
    figure = layer_figure([row(1, "stem"), row(2, "stem")], value)
    assert meshes(figure)[0].get_array().tolist() == [[getattr(row(1, "stem"), value)] * 2]


def test_gradient_norm_alone_and_at_zero():
    (mesh,) = meshes(layer_figure([row(1, "stem"), row(2, "stem", gradient=0.0)], "gradient_norm"))
    assert np.ma.getmaskarray(mesh.get_array()).tolist() == [[False, True]]
    assert layer_figure([row(1, "stem", gradient=0.0)], "gradient_norm")


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match="rows: at least one row"):
        layer_figure([])
    with pytest.raises(ValueError, match=r"negative_cosine, .* expected, got 'cosine'"):
        layer_figure([row(1, "stem")], "cosine")
