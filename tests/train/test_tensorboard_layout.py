import re

from ssl_norm.train.tensorboard_layout import OTHER_MONITORS, charts, layout


def tags(page, title):
    kind, patterns = page["collapse"][title]
    assert kind == "Multiline"
    return patterns


def test_a_chart_is_the_same_in_every_run_that_has_it():
    few, many = layout(["step", "loss", "rank_me"]), layout(["loss", "rank_me", "ne_sum", "new"])
    assert few["collapse"]["dimensions in use"] == many["collapse"]["dimensions in use"]


def test_every_monitor_that_no_chart_names_is_in_one_of_its_own():
    columns = ["step", "epoch", "loss", "lr", "images_per_second", "verdict", "positive_cosine"]
    assert OTHER_MONITORS not in layout(columns)["collapse"]
    (pattern,) = tags(layout([*columns, "lidar"]), OTHER_MONITORS)
    assert re.match(pattern, "collapse/lidar")
    assert re.match(pattern, "collapse/feature_std_of_target")
    assert not re.match(pattern, "train/lr")
    for names in charts().values():
        assert not any(re.match(pattern, f"collapse/{name}") for name in names)
