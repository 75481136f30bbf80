from ssl_norm.report.frame import Group
from ssl_norm_example.rank_over_steps import rank_over_steps
from tests.report.run_folders import runs_in, write_study


def test_a_curve_of_the_steps_that_measured_the_rank(tmp_path):
    write_study(tmp_path)
    (file,) = rank_over_steps([Group(("bn",), "bn", tuple(runs_in(tmp_path)))])
    (axes,) = file.figure.axes
    assert axes.get_title(loc="left").startswith("bn (n = ")
    assert all(len(line.get_xdata()) != 1 for line in axes.lines)
