import pytest

from ssl_norm.errors import UserError
from ssl_norm.report.figure_spec import FigureSpec, Published, figure_specs
from ssl_norm.settings.study import read_study
from ssl_norm.settings.study import study_tools as studies

ENTRY = {"name": "f", "x": "labels_per_class", "y": "top1"}


def test_every_key_of_an_entry():
    (spec,) = figure_specs(
        "s",
        [
            {
                **ENTRY,
                "y": ["top1", "top1_exact"],
                "lines": "arm",
                "where": {"split": "test", "statistics": ["exact", "batch"]},
                "log_x": True,
                "title": "t",
                "x_label": "labels",
                "y_label": "accuracy",
                "labels": {"bn": "BatchNorm"},
                "published": {"label": "Paper", "lines": {"bn": [[2, 0.5], [4, 1]]}},
            }
        ],
    )
    assert spec == FigureSpec(
        name="f",
        x="labels_per_class",
        y=("top1", "top1_exact"),
        lines=("arm",),
        where=({"split": ("test",), "statistics": ("exact", "batch")},),
        log_x=True,
        title="t",
        x_label="labels",
        y_label="accuracy",
        labels={"bn": "BatchNorm"},
        published=Published("Paper", {"bn": ((2, 0.5), (4, 1))}),
    )
    assert spec.names == ("labels_per_class", "arm", "split", "statistics", "top1", "top1_exact")
    assert spec.label(["bn", "exact"]) == "BatchNorm, exact"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logx": True}, "unknown key 'logx'.*did you mean 'log_x'"),
        ({"y": None}, "y is a name, or several in"),
        ({"y": []}, "y is a name, or several in"),
        ({"x": 3}, "x is text, got 3"),
        ({"name": "a/b"}, "name is that of its files"),
        ({"name": "table"}, "name is that of its files"),
        ({"lines": {"a": 1}}, "lines is a name, or several in"),
        ({"where": "split"}, "where is a mapping"),
        (
            {"where": [{"split": "test"}, "train"]},
            "where is a mapping, .* or a list of several, got 'train'",
        ),
        ({"where": []}, "where is a mapping"),
        ({"labels": []}, "labels is a mapping"),
        ({"log_x": "yes"}, "log_x is true or false"),
        ({"published": {"lines": {}}}, "published is {label: source"),
        ({"published": {"label": "p", "lines": {"bn": [[1]]}}}, "a point is two numbers"),
        ({"published": {"label": "p", "lines": {"bn": 3}}}, "a point is two numbers"),
    ],
)
def test_a_wrong_entry_is_one_line_that_names_its_file(change, message):
    with pytest.raises(UserError, match=message) as raised:
        figure_specs("few_labels", [{**ENTRY, **change}])
    assert str(raised.value).startswith("configs/study/few_labels.yaml, figure ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["name", "x", "y"])
def test_what_a_figure_needs(key):
    entry = {name: value for name, value in ENTRY.items() if name != key}
    with pytest.raises(UserError, match=f"it has no {key}; a figure needs name, x and y"):
        figure_specs("s", [entry])


def test_two_figures_of_one_name():
    with pytest.raises(UserError, match="figure f: there are two figures of this name"):
        figure_specs("s", [ENTRY, ENTRY])


@pytest.mark.parametrize("study", studies())
def test_the_figures_of_every_study_are_well_formed(study):
    figure_specs(study, read_study(study).figures)
