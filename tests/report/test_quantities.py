import pytest

from ssl_norm.report.quantities import find_quantity, known_names, options, setting
from ssl_norm.report.read import read_run
from tests.report.finetune_folders import finetune_config, write_finetune


@pytest.fixture
def run(tmp_path):
    config = finetune_config({"name": "bn", "batch_size": 4}, arm="small", study="s")
    return read_run(write_finetune(tmp_path, config), "a")


def test_settings_as_numbers_and_text(run):
    assert setting(run, "norm.encoder") == "bn(batch_size=4)"
    assert setting(run, "norm.encoder.name") == "bn"
    assert setting(run, "norm.encoder.batch_size") == 4
    assert setting(run, "norm.freeze_last") == 0.0
    assert setting(run, "evaluation.samples") == "[1000, 100]"
    assert (setting(run, "arm"), setting(run, "study")) == ("small", "s")
    assert setting(run, "checkpoint") is None
    assert setting(run, "norm.projector") is None


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("gn+ws", {"name": "gn+ws"}),
        ({"name": "gn", "groups": 8}, {"name": "gn", "groups": 8}),
        ("{name: gn, groups: 8}", {"name": "gn", "groups": 8}),
        ("{broken", {"name": "{broken"}),
    ],
)
def test_the_options_of_a_norm(norm, expected):
    assert options(norm) == expected


def test_where_a_name_stands(run):
    def found(name, **place):
        return find_quantity(name, [run], **{"of_rows": False, "y": False, **place})

    assert found("batch_size").source == "config"
    assert found("batch_size", of_rows=True).source == "evaluations"
    assert found("labels").of(run) == 1.0
    assert found("labels", y=True).of(run) == 40
    assert found("summary.labels").of(run) == 40
    assert found("summary.nothing") is None
    assert found("nothing") is None
    assert {"labels_per_class", "top1_exact", "statistics", "arm"} <= set(known_names([run]))


def test_a_missing_value_is_none(run):
    quantity = find_quantity("evaluations.top1", [run], of_rows=True, y=True)
    assert quantity.of(run, {"top1": float("nan")}) is None
    assert quantity.of(run) is None
