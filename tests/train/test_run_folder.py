import json
import math
import os
from contextlib import ExitStack

import pytest

from ssl_norm.errors import UserError
from ssl_norm.settings.pretrain import (
    MonitorSettings,
    NormSettings,
    PretrainOptimizer,
    PretrainSettings,
)
from ssl_norm.settings.sections import DataSettings
from ssl_norm.train import run_folder
from ssl_norm.train.checkpoint import save_checkpoint
from ssl_norm.train.run_folder import RunFolder, StepTable, UnreadableRun
from ssl_norm.train.run_settings import default_run_dir, open_run_folder, plain_config


def configuration(**changes):
    return PretrainSettings(method="byol", **changes)


def saved(config):
    return {"step": 7, "processes": 1, "config": plain_config(config)}


def opened(config):
    """Return folder and checkpoint of a run whose lock is released."""
    with ExitStack() as held:
        return open_run_folder(config, held)[:2]


def test_default_name_says_method_and_norms():
    config = configuration(norm=NormSettings(encoder={"name": "gn+ws", "groups": 16}))
    assert default_run_dir(config).name.endswith("_byol_gn+ws-groups-16-bn-bn")


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    config = configuration(run_dir=str(tmp_path))
    save_checkpoint(tmp_path / "last.pt", saved(config))
    with pytest.raises(UserError, match="add resume=true"):
        opened(config)


def test_resume_continues_from_the_checkpoint_or_reports_a_new_run(tmp_path, capsys):
    config = configuration(run_dir=str(tmp_path), resume=True)
    assert opened(config)[1] is None
    assert (
        capsys.readouterr().err
        == f"run_dir={tmp_path} contains no run to resume; a new one begins\n"
    )
    save_checkpoint(tmp_path / "last.pt", saved(config))
    folder, checkpoint = opened(config)
    assert (folder.path, checkpoint["step"]) == (tmp_path, 7)


@pytest.mark.parametrize("steps", [7, 9])
def test_a_summary_of_another_checkpoint_does_not_stop_a_run(tmp_path, steps):
    settings = {"run_dir": str(tmp_path), "resume": True}
    config = configuration(monitor=MonitorSettings(on_collapse="stop"), **settings)
    save_checkpoint(tmp_path / "last.pt", saved(config))
    collapse = {"ended": "collapse", "steps": steps, "collapsed_at_step": 3, "evidence": "..."}
    (tmp_path / "summary.json").write_text(json.dumps(collapse))
    with ExitStack() as held:
        stop = open_run_folder(config, held).stop
    assert (stop is not None) == (steps == 7)


@pytest.mark.parametrize("key", ["steps", "collapsed_at_step", "evidence"])
def test_a_summary_of_a_collapse_without_its_facts_is_named(tmp_path, key):
    config = configuration(
        monitor=MonitorSettings(on_collapse="stop"), run_dir=str(tmp_path), resume=True
    )
    save_checkpoint(tmp_path / "last.pt", saved(config))
    collapse = {"ended": "collapse", "steps": 7, "collapsed_at_step": 3, "evidence": "..."}
    del collapse[key]
    (tmp_path / "summary.json").write_text(json.dumps(collapse))
    with pytest.raises(UnreadableRun, match=rf"summary\.json.* {key}.*; .* writes it again"):
        opened(config)


def test_resume_with_other_settings_tells_how_to_go_on(tmp_path):
    place = {"run_dir": str(tmp_path), "resume": True}
    earlier = configuration(norm=NormSettings(projector={"name": "gn", "groups": 4}), **place)
    save_checkpoint(tmp_path / "last.pt", saved(earlier))
    config = configuration(
        optimizer=PretrainOptimizer(lr=9.0), data=DataSettings(workers=5), **place
    )
    with pytest.raises(UserError) as refused:
        opened(config)
    assert "norm.projector was {'name': 'gn', 'groups': 4}, is bn" in str(refused.value)
    assert str(refused.value).endswith(
        "optimizer.lr was 0.4, is 9.0; to continue with its settings, give "
        f"run_dir={tmp_path} resume=true alone; for other settings start a new run"
    )


TABLES = {
    "rows of later steps and one cut short are dropped": (
        "metrics.csv",
        "step,loss,verdict\n10,0.5,healthy\n20,0.5,healthy\n30,0.5,healthy\n40,0.",
        [{"verdict": "complete", "step": 30, "loss": 0.1 + 0.2}],
        "step,loss,verdict\n10,0.5,healthy\n20,0.5,healthy\n30,0.30000000000000004,complete\n",
    ),
    "a step may have several rows": (
        "layers.csv",
        "step,layer,rank_me\n1,stem,2.5\n1,head,2.5\n50,stem,2.5\n50,head,2.5\n",
        [{"step": 40, "layer": name, "rank_me": 1.0} for name in ("stem", "a,b")],
        'step,layer,rank_me\n1,stem,2.5\n1,head,2.5\n40,stem,1.0\n40,"a,b",1.0\n',
    ),
    "the columns stay": (
        "metrics.csv",
        "step,gone,loss\n10,1.0,0.5\n",
        [{"step": 30, "loss": 0.25, "added": 2.0}],
        "step,gone,loss\n10,1.0,0.5\n30,nan,0.25\n",
    ),
    "nothing is left": ("metrics.csv", "step,loss\n30,1.0\n", [], ""),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_continues_after_the_last_step(tmp_path, case):
    name, before, rows, after = TABLES[case]
    (tmp_path / name).write_text(before)
    table = StepTable(tmp_path / name, 20, keep=True)
    table.append(*rows)
    assert (tmp_path / name).read_text() == after
    assert repr(table.rows) == repr(RunFolder(tmp_path).rows(name))
    again = StepTable(tmp_path / name, 99, written=table.sum)
    assert ((tmp_path / name).read_text(), again.sum) == (after, table.sum)


def test_resume_with_other_processes_is_refused_where_batch_norms_would_change(tmp_path):
    place = {"run_dir": str(tmp_path), "resume": True}
    config = configuration(**place)
    save_checkpoint(tmp_path / "last.pt", saved(config) | {"processes": 4})
    with pytest.raises(UserError, match="processes were 4, are 1"):
        opened(config)
    config = configuration(
        norm=NormSettings(encoder="ln", projector="ln", predictor="none"), **place
    )
    save_checkpoint(tmp_path / "last.pt", saved(config) | {"processes": 4})
    assert opened(config)[1] is not None


def test_json_has_null_for_numbers_that_are_not_finite(tmp_path):
    found = {"loss": math.nan, "below": [1.5, -math.inf], "step": 3}
    RunFolder(tmp_path).write_json("a.json", found)
    expected = {"loss": None, "below": [1.5, None], "step": 3}
    assert RunFolder(tmp_path).json("a.json") == expected


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written to: Not a directory"):
        opened(configuration(run_dir=str(tmp_path / "file" / "run")))


BOMB = "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("config.yaml", None, "there is no config.yaml"),
        ("config.yaml", "a: [", "config.yaml cannot be read: "),
        ("config.yaml", "environment: 3", "config.yaml: environment: .* valid dictionary, got 3"),
        ("config.yaml", BOMB, r"an alias, \*a, which runs never write"),
        ("config.yaml", "a: &a\n  b: *a\n", "an alias"),
        ("config.yaml", "[" * 99 + "]" * 99, "more than 40 levels"),
        ("config.yaml", "a: " + "1" * 2**18, "more than 262,144 bytes"),
        ("config.yaml", "{1: 2}", "a key that is not text"),
        ("config.yaml", "!!python/object/apply:os.getcwd []", "not determine a constructor"),
        ("config.yaml", "caf\udce9", "'utf-8' codec can't decode byte"),
        ("summary.json", "{", "summary.json cannot be read: "),
        ("summary.json", "[]", "summary.json holds no object"),
        ("metrics.csv", "step,loss\n1\n", "metrics.csv: a row does not fit the columns"),
        ("metrics.csv", "step,loss\n1,x\n", "metrics.csv: 'x' in column loss is not a number"),
    ],
)
def test_unreadable_files_are_one_line_with_a_repair(tmp_path, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_text(content, errors="surrogateescape")
    folder = RunFolder(tmp_path)
    read = {".yaml": folder.config, ".json": lambda: folder.json(name)}
    with pytest.raises(UnreadableRun, match=complaint) as caught:
        read.get((tmp_path / name).suffix, lambda: folder.rows(name))()
    assert str(tmp_path) in str(caught.value)
    assert "a resumed run " in str(caught.value)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(os.devnull, path)])
@pytest.mark.parametrize("name", [*run_folder.TABLES, *run_folder.RECORDS, "linear_eval.json"])
def test_pipes_devices_and_folders_are_never_opened(tmp_path, name, make):
    make(tmp_path / name)
    folder = RunFolder(tmp_path)
    read = {".yaml": lambda _: folder.config(), ".json": folder.json, ".csv": folder.rows}
    with pytest.raises(UnreadableRun, match=f"{name} cannot be read: not a regular file"):
        read[(tmp_path / name).suffix](name)


def test_columns_have_the_types_of_their_file_and_an_empty_number_is_nan(tmp_path):
    (tmp_path / "evaluations.csv").write_text("step,split,samples,top1\n4,test,64,\n")
    (row,) = RunFolder(tmp_path).rows("evaluations.csv")
    assert (row["step"], row["split"], row["samples"]) == (4, "test", 64)
    assert row["top1"] != row["top1"]
    assert RunFolder(tmp_path).rows("metrics.csv") == []
    assert RunFolder(tmp_path).json("summary.json") == {}


def test_a_changed_letter_in_any_file_with_a_checksum_is_found(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config({"epochs": 14, "names": ["a"]}, {"torch": "2"})
    folder.write_json("summary.json", {"steps": 14, "loss": 0.14, "text": "14"})
    table = StepTable(folder / "metrics.csv", 0)
    table.append({"step": 14, "loss": 0.5, "verdict": "healthy"})
    readers = {
        "config.yaml": folder.config,
        "summary.json": lambda: folder.json("summary.json"),
        "metrics.csv": lambda: StepTable(folder / "metrics.csv", 14, written=table.sum),
    }
    for name, read in readers.items():
        read()
        text = (tmp_path / name).read_text()
        for old, new in (("14", "15"), (text[-20:], "")):
            (tmp_path / name).write_text(text.replace(old, new))
            with pytest.raises(UnreadableRun, match=name):
                read()


def test_a_folder_is_written_by_one_process(tmp_path):
    config = configuration(run_dir=str(tmp_path))
    with ExitStack() as held:
        open_run_folder(config, held)
        with pytest.raises(UserError, match=rf"written by process {os.getpid()} on .*; wait"):
            opened(config)
    (tmp_path / ".lock").write_text("process 1 on elsewhere")  # of a process that was killed
    opened(config)
    assert list(tmp_path.iterdir()) == []


def test_default_folders_of_one_second_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [default_run_dir(configuration()) for _ in range(3)]
    assert len(set(found)) == len(list((tmp_path / "runs").iterdir())) == 3
