"""Tools as Python functions, and the names at the top of the package."""

import subprocess
import sys
from importlib import import_module

import pytest
from torch import nn

import ssl_norm
from ssl_norm.api import settings_of
from ssl_norm.errors import UserError
from ssl_norm.settings.compose import compose_settings


class OwnNorm(nn.BatchNorm2d):
    """A norm of the user."""


def test_keywords_are_the_settings_of_the_command_line():
    typed = compose_settings(
        "pretrain",
        "method=moco_v2",
        "data=folder",
        "data.root=photos",
        "epochs=3",
        "norm.encoder=gn",
    )
    given = settings_of(
        "pretrain",
        {
            "method": "moco_v2",
            "data": {"name": "folder", "root": "photos"},
            "augment": "moco_v2",
            "epochs": 3,
            "norm.encoder": "gn",
        },
    )
    assert given == typed


def test_one_setting_of_a_section_keeps_the_others():
    given = settings_of("pretrain", {"method": {"ema_decay": 0.5}, "norm": {"projector": "ln"}})
    assert given.method.name == "byol"
    assert (given.method.ema_decay, given.method.projector.hidden_dim) == (0.5, 256)
    assert [str(given.norm.encoder), str(given.norm.projector)] == ["bn", "ln"]


def test_classes_are_taken_as_names_of_their_modules():
    given = settings_of("pretrain", {"norm": {"encoder": OwnNorm}})
    assert given.norm.encoder.cls is OwnNorm
    assert given.model_dump(mode="json")["norm"]["encoder"] == f"{__name__}:OwnNorm"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"method": "byl"}, "did you mean 'byol'"),
        ({"norm": {"encoder": "bm"}}, "norm.encoder: unknown norm 'bm'"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_wrong_settings_raise_one_line(settings, named):
    with pytest.raises(UserError, match=named) as raised:
        settings_of("pretrain", settings)
    assert "\n" not in str(raised.value)


def test_results_of_the_tools(tmp_path, capsys):
    run = ssl_norm.pretrain(
        epochs=1, batch_size=16, data={"limit": 32}, encoder={"name": "tiny16"},
        run_dir=tmp_path / "run", linear_probe=False, device="cpu", loggers=(),
    )  # fmt: skip
    assert (run.folder, run.ended) == (tmp_path / "run", "done")
    found = ssl_norm.diagnose(checkpoint=run.folder, samples=32, random_init=False, device="cpu")
    assert found.record["step"] == 2
    import_module("ssl_norm.reporting.page")
    assert ssl_norm.report(runs=str(run.folder)) == run.folder / "report"
    assert "written to" in capsys.readouterr().out


def test_importing_the_package_needs_no_torch():
    code = "import sys, ssl_norm; from ssl_norm import pretrain; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"CollapseMonitor", "make_norm", "replace_norms"} <= set(ssl_norm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ssl_norm.nothing  # noqa: B018
