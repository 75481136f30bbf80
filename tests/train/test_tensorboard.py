import warnings

import torch

from ssl_norm.train.tensorboard import TensorBoard


def row(step, verdict="healthy"):
    return {
        "step": step,
        "epoch": step / 10,
        "loss": 1 / step,
        "lr": 0.1,
        "positive_cosine": 0.8,
        "negative_cosine": 0.2,
        "feature_std": 0.9,
        "images_per_second": 100.0,
        "verdict": verdict,
    }


def events(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own imports warn of deprecations
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    return EventAccumulator(str(folder)).Reload()


def test_scalars_layout_verdict_and_views(tmp_path):
    board = TensorBoard(tmp_path, 0)
    board.views(torch.zeros(3, 8, 8, dtype=torch.uint8))
    for step, verdict in ((10, "healthy"), (20, "healthy"), (30, "complete")):
        board.row(row(step, verdict))
    board.close()
    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {
        "collapse/positive_cosine",
        "collapse/negative_cosine",
        "collapse/feature_std",
        "train/loss",
        "train/lr",
        "train/images_per_second",
    }
    assert [event.step for event in found.Scalars("collapse/negative_cosine")] == [10, 20, 30]
    assert [event.step for event in found.Tensors("collapse/verdict/text_summary")] == [10, 30]
    assert found.Tags()["images"] == ["views"]
    layout = found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"collapse/positive_cosine" in layout
    assert b"collapse/negative_cosine" in layout


def test_a_resumed_run_hides_only_what_came_after_its_checkpoint(tmp_path):
    first = TensorBoard(tmp_path, 0)
    for step in (10, 20, 30):
        first.row(row(step))
    first.close()
    again = TensorBoard(tmp_path, 20)
    again.row(row(40))
    again.close()
    assert [event.step for event in events(tmp_path).Scalars("train/loss")] == [10, 20, 40]
