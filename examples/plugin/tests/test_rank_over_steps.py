from math import nan

from ssl_norm.reporting.frame import Group
from ssl_norm_example.rank_over_steps import rank_over_steps
from tests.reporting.run_folders import curves, runs_in, write_run


def test_a_curve_of_the_steps_that_measured_the_rank(tmp_path):
    rows = [
        {**row, "effective_rank": rank} for row, rank in zip(curves(), (3, nan, 5), strict=False)
    ]
    for seed in range(2):
        write_run(tmp_path / f"run{seed}", rows=rows)
    (file,) = rank_over_steps([Group(("bn",), "bn", tuple(runs_in(tmp_path)))])
    (axes,) = file.figure.axes
    assert axes.get_title(loc="left") == "bn (n = 2)"
    assert list(axes.lines[0].get_ydata()) == [3, 5]
