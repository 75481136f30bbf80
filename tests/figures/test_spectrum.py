import numpy as np
import pytest

from ssl_norm.figures import spectrum_figure


def spectra(count, dimensions=128):
    return [np.full(dimensions, 1 / dimensions) for _ in range(count)]


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (5, 5), (12, 12), (100, 12)])
def test_at_most_twelve_lines_the_first_and_last_among_them(count, drawn):
    steps = list(range(10, 10 * count + 1, 10))
    rows = [np.linspace(0.02, 0.001, 16) * (index + 1) for index in range(count)]
    upper = spectrum_figure(steps, rows).axes[0]
    lines = upper.get_lines()
    assert len(lines) == drawn
    assert lines[0].get_ydata().tolist() == rows[0].tolist()
    assert lines[-1].get_ydata().tolist() == rows[-1].tolist()
    assert lines[0].get_xdata().tolist() == list(range(1, 17))
    assert upper.get_yscale() == "log"
    assert str(steps[-1]) in upper.get_title()


def test_bands_add_up_to_the_total_variance():
    descending = np.sort(np.random.default_rng(0).uniform(0, 0.01, 100))[::-1]
    lower = spectrum_figure([0, 10], [descending, descending / 2]).axes[1]
    areas = {area.get_label(): area.get_paths()[0].vertices for area in lower.collections}
    assert list(areas) == ["1", "2 to 4", "5 to 16", "17 to 64", "65 to 100"]
    top = areas["65 to 100"]
    assert top[top[:, 0] == 0, 1].max() == pytest.approx(descending.sum())
    assert top[top[:, 0] == 10, 1].max() == pytest.approx(descending.sum() / 2)
    first = areas["1"]
    assert first[first[:, 0] == 0, 1].max() == pytest.approx(descending[0])


def test_few_dimensions_make_few_bands():
    lower = spectrum_figure([0], spectra(1, dimensions=3)).axes[1]
    assert [area.get_label() for area in lower.collections] == ["1", "2 to 3"]
    lower = spectrum_figure([0], spectra(1, dimensions=1)).axes[1]
    assert [area.get_label() for area in lower.collections] == ["1"]


def test_zeros_and_rounding_errors_are_drawn_at_the_floor():
    upper = spectrum_figure([1, 2], [[0.5, 0.0, -1e-17], [0.0, 0.0, 0.0]]).axes[0]
    assert upper.get_lines()[0].get_ydata().tolist() == [0.5, 1e-12, 1e-12]
    assert upper.get_lines()[1].get_ydata().tolist() == [1e-12] * 3


@pytest.mark.parametrize(
    ("steps", "rows", "message"),
    [
        ([], [], "got 0 for 0 steps"),
        ([1], [], "got 0 for 1 steps"),
        ([7], [[0.1, np.nan]], "at step 7, got shape \\(2,\\) with 1 values"),
        ([7], [[[0.1]]], "got shape \\(1, 1\\)"),
    ],
)
def test_bad_input_is_one_clear_line(steps, rows, message):
    with pytest.raises(ValueError, match=message):
        spectrum_figure(steps, rows)
