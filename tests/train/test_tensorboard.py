import io
import re
import warnings
from itertools import pairwise
from math import inf, nan

import pytest
import torch
from PIL import Image

from ssl_norm.monitors.collapse_monitor import Snapshot
from ssl_norm.monitors.layers import LayerRow
from ssl_norm.train import recorder
from ssl_norm.train.loggers import Loggers
from ssl_norm.train.recorder import RunFiles
from ssl_norm.train.run_folder import RunFolder
from ssl_norm.train.tensorboard import OTHER_MONITORS, charts, layout
from tests.disk import full_disk

SPECTRUM = [0.5, 0.25, 0.05, 0.0]


def row(step, **more):
    return {
        "step": step,
        "epoch": step / 10,
        "loss": 1 / step,
        "lr": 0.1,
        "positive_cosine": 0.8,
        "negative_cosine": 0.2,
        "feature_std": 0.9,
        "images_per_second": 100.0,
        "verdict": "healthy",
        **more,
    }


def layer_rows(step):
    return [LayerRow(step, layer, 0.9, 0.4, 0.5, 3.0, 0.1) for layer in ("stem", "head")]


def events(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own imports warn of deprecations
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    return EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0}).Reload()


def charts_in(folder):
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    content = events(folder).Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    layout = Layout.FromString(content)
    assert [category.title for category in layout.category] == ["collapse"]
    return [list(chart.multiline.tag) for chart in layout.category[0].chart]


def test_a_chart_is_the_same_in_every_run_that_has_it():
    few, many = layout(["step", "loss", "rank_me"]), layout(["loss", "rank_me", "ne_sum", "new"])
    assert few["collapse"]["dimensions in use"] == many["collapse"]["dimensions in use"]


def test_every_monitor_without_a_chart_is_in_the_chart_of_other_monitors():
    columns = ["step", "epoch", "loss", "lr", "images_per_second", "verdict", "positive_cosine"]
    assert OTHER_MONITORS not in layout(columns)["collapse"]
    kind, (pattern,) = layout([*columns, "lidar"])["collapse"][OTHER_MONITORS]
    assert kind == "Multiline"
    assert re.match(pattern, "collapse/lidar")
    assert re.match(pattern, "collapse/feature_std_of_target")
    assert not re.match(pattern, "train/lr")
    for names in charts().values():
        assert not any(re.match(pattern, f"collapse/{name}") for name in names)


def texts(folder):
    found = events(folder).Tensors("collapse/verdict/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in found]


def page_of(folder, first_step=0):
    return RunFiles(RunFolder(folder), first_step, ["tensorboard"])


@pytest.fixture
def board(tmp_path):
    return page_of(tmp_path)


def test_numbers_of_rows_become_scalars_and_one_page_of_charts(board, tmp_path):
    board.row(row(10, rank_me=nan, surprise=3.0))
    board.row(row(20, rank_me=7.0, surprise=4.0))
    board.close()
    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {
        "collapse/positive_cosine",
        "collapse/negative_cosine",
        "collapse/feature_std",
        "collapse/rank_me",
        "collapse/surprise",
        "train/loss",
        "train/lr",
        "train/images_per_second",
    }
    assert [event.step for event in found.Scalars("collapse/negative_cosine")] == [10, 20]
    assert [(event.step, event.value) for event in found.Scalars("collapse/rank_me")] == [(20, 7)]
    assert charts_in(tmp_path) == [
        ["^collapse/positive_cosine$", "^collapse/negative_cosine$"],
        ["^collapse/feature_std$"],
        [f"^collapse/{name}$" for name in charts()["dimensions in use"]],
        ["^train/loss$"],
        layout(["surprise"])["collapse"][OTHER_MONITORS][1],
    ]


def test_a_verdict_is_written_when_it_changes_and_once_more_at_the_end(board, tmp_path):
    for step, verdict in ((10, "healthy"), (20, "healthy"), (30, "complete"), (40, "complete")):
        board.verdict(step, verdict, f"negative cosine {step / 100}")
    board.close()
    assert [(step, text.split(":")[0]) for step, text in texts(tmp_path)] == [
        (10, "**healthy** at step 10"),
        (30, "**complete** at step 30"),
        (40, "**complete** at step 40"),
    ]
    assert "negative cosine 0.4" in texts(tmp_path)[-1][1]
    assert "docs/collapse.md" in texts(tmp_path)[-1][1]


def test_pictures_are_drawn_at_once_and_with_everything_at_the_end(board, tmp_path):
    board.views(torch.zeros(3, 8, 16, dtype=torch.uint8))
    for step in (10, 20, 30):
        board.snapshots([Snapshot(step, SPECTRUM, [])])
        board.layers(layer_rows(step))
        board.layers([])
    board.close()
    found = events(tmp_path)
    assert set(found.Tags()["images"]) == {"views", "collapse/spectrum", "collapse/layers"}
    for tag in ("collapse/spectrum", "collapse/layers"):
        steps = [event.step for event in found.Images(tag)]
        assert (steps[0], steps[-1]) == (10, 30)
        assert len(set(steps)) == len(steps)
    for tag in found.Tags()["images"]:
        for event in found.Images(tag):
            picture = Image.open(io.BytesIO(event.encoded_image_string))
            assert picture.format == "PNG"
            assert picture.size == (event.width, event.height)
    assert found.Images("views")[0].width == 16


@pytest.mark.usefixtures("no_rendering")
@pytest.mark.parametrize("share", [0.0, inf])
def test_a_picture_waits_for_a_tenth_more_and_for_its_share_of_the_time(
    board, tmp_path, monkeypatch, share
):
    monkeypatch.setattr(recorder, "SHARE", share)
    for step in range(1, 21):
        board.snapshots([Snapshot(step, SPECTRUM, [])])
    board.close()
    steps = [event.step for event in events(tmp_path).Images("collapse/spectrum")]
    assert (steps[0], steps[-1]) == (1, 20)
    if share == 0:
        assert len(steps) == 2
    else:
        assert all(b >= 1.1 * a for a, b in pairwise(steps[:-1]))
        assert 11 < len(steps) < 20


@pytest.mark.parametrize("values", [[0.0] * 8, [0.9, 1.0, 1.1, nan], [3.0, 0.0]])
def test_histogram_of_deviations_counts_all_that_are_finite(board, tmp_path, values):
    board.snapshots([Snapshot(5, [nan], [nan]), Snapshot(10, [nan], values)])
    board.close()
    (event,) = events(tmp_path).Histograms("collapse/std_per_dimension")
    finite = [value for value in values if value == value]
    assert event.step == 10
    assert sum(event.histogram_value.bucket) == event.histogram_value.num == len(finite)
    assert event.histogram_value.max == max(finite)
    assert events(tmp_path).Tags()["images"] == []


def hparams(folder):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events(folder).summary_metadata
    return {
        tag: HParamsPluginData.FromString(data.plugin_data.content)
        for tag, data in content.items()
        if data.plugin_data.plugin_name == "hparams"
    }


def test_hyperparameters_and_final_metrics_lie_in_the_run_s_own_folder(board, tmp_path):
    settings = {"norm": {"encoder": "bn"}, "seed": 3, "resume": False, "limit": None}
    board.hyperparameters(settings, {})
    assert set(hparams(tmp_path)) <= {"_hparams_/session_start_info"}
    board.hyperparameters(settings, {"linear_top1": 0.75, "collapsed_at_step": None})
    board.close()
    found = hparams(tmp_path)
    assert set(found) == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    values = found["_hparams_/session_start_info"].session_start_info.hparams
    assert {name: value.WhichOneof("kind") for name, value in values.items()} == {
        "norm.encoder": "string_value",
        "seed": "number_value",
        "resume": "string_value",
    }
    assert [event.value for event in events(tmp_path).Scalars("at_end/linear_top1")] == [0.75]
    assert events(tmp_path).Tags()["scalars"] == ["at_end/linear_top1"]
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize("side", [8, 48])
def test_projector_leaves_vectors_labels_and_sprite(board, tmp_path, side):
    (tmp_path / "alone").mkdir()
    alone = page_of(tmp_path / "alone")
    alone.embeddings(torch.zeros(4, 2), None, None)
    alone.close()
    found = (tmp_path / "alone").glob("*/features/*")
    assert [path.name for path in found] == ["tensors.tsv"]
    thumbnails = torch.full((5, 3, side, side), 255, dtype=torch.uint8)
    board.embeddings(torch.arange(10.0).reshape(5, 2), ["a", "b", "a", "b", "c"], thumbnails)
    board.close()
    (folder,) = tmp_path.glob("*/features")
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert f"{folder.parent.name}/features/tensors.tsv" in config
    assert (folder / "metadata.tsv").read_text().split() == ["a", "b", "a", "b", "c"]
    assert len((folder / "tensors.tsv").read_text().splitlines()) == 5
    sprite = Image.open(folder / "sprite.png")
    assert sprite.size == (3 * min(side, 32),) * 2
    assert sprite.getpixel((0, 0)) == (255, 255, 255)


def test_a_resumed_run_hides_only_what_came_after_its_checkpoint(tmp_path):
    first = page_of(tmp_path)
    for step in (10, 20, 30):
        first.row(row(step))
    first.close()
    again = page_of(tmp_path, 20)
    again.row(row(40))
    again.close()
    assert [event.step for event in events(tmp_path).Scalars("train/loss")] == [10, 20, 40]


def test_a_full_disk_costs_the_logger_and_one_line(tmp_path, capsys):
    loggers = Loggers(["tensorboard"], tmp_path, 0)
    with full_disk():
        while loggers:
            loggers.each(lambda logger: logger.text("note", 1, "text"))
    printed = capsys.readouterr().err
    assert printed.startswith("warning: logger 'tensorboard' failed and is omitted")
    assert printed.count("\n") == 1
