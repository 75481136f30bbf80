import pytest
import torch
from torch import nn

from ssl_norm.monitors.projectors import find_layers, find_projectors, pairs_of_calls


def network(*paths):
    """A module with a small MLP at each path."""
    root = nn.Module()
    for path in paths:
        parent = root
        *above, last = path.split(".")
        for part in above:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        parent.add_module(last, nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    return root


@pytest.mark.parametrize(
    ("paths", "online", "target"),
    [
        (["projection_head", "projection_head_momentum"], "projection_head", True),  # lightly
        (["prediction_head", "projection_head"], "projection_head", False),
        (["projector", "momentum_projector", "predictor"], "projector", True),  # solo-learn
        (["student_head", "teacher_head"], "student_head", True),  # lightly's DINO
        (["head", "momentum_head"], "head", True),  # solo-learn's DINO
        (["target_e.projector", "online_e.projector"], "online_e.projector", True),
        (["projection_model", "lagging_projection_model"], "projection_model", True),  # imbue
        (["model.head", "model.projector"], "model.projector", False),
    ],
)
def test_usual_names(paths, online, target):
    found = find_projectors(network(*paths))
    assert found["online"] == online
    assert list(found) == (["online", "target"] if target else ["online"])
    assert set(found.values()) <= set(paths)


def test_the_target_is_named_like_the_online_projector_or_left_out():
    assert find_projectors(network("encoder_q", "encoder_k"), "encoder_q")["target"] == "encoder_k"
    both = network("projector", "momentum_projector")
    assert find_projectors(both, target="none") == {"online": "projector"}


def test_a_patch_projection_is_no_projector():
    vit = nn.Module()
    vit.projection = nn.Conv2d(3, 4, 2)
    vit.g = nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r"no projector under a usual name .* linear layer: g"):
        find_projectors(vit)


def test_a_wrong_name_is_one_line_with_the_nearest():
    with pytest.raises(ValueError, match=r"target: unknown submodule 'gg'; known: f,"):
        find_projectors(network("f", "g"), "g", "gg")


def test_the_encoder_is_not_what_holds_the_projector():
    whole = network("model.projector", "model.net.backbone", "model.predictor")
    layers = find_layers(whole, whole.model.projector)
    assert layers["encoder"] is whole.model.net.backbone
    assert layers["projector.0"] is whole.model.projector[0]
    assert layers["predictor.2"] is whole.model.predictor[2]
    without = network("model.projector")
    with pytest.raises(ValueError, match="Module has no encoder under a usual name"):
        find_layers(without, without.model.projector)


def views(count, rows=4):
    return [torch.full((rows, 2), float(index)) for index in range(1, count + 1)]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [((2, 2), [(1, 20), (2, 10)]), ((1, 1), [(1, 10)]), ((2, 0), [(1, 2)])],
)
def test_pairs(calls, expected):
    online, target = views(calls[0]), [10 * view for view in views(calls[1])]
    for joint in (False, True):
        if joint and calls == (1, 1):
            continue
        given = [[torch.cat(v)] if joint and v else v for v in (online, target)]
        pairs = pairs_of_calls(*given, joint)
        assert [(int(a[0, 0]), int(b[0, 0])) for a, b in pairs] == expected
        assert all(len(view) == 4 for pair in pairs for view in pair)


def test_other_calls_and_shapes_are_refused():
    for calls in ((1, 0), (2, 1), (1, 2)):
        message = rf"online projector {calls[0]} and the target's {calls[1]}"
        with pytest.raises(ValueError, match=message):
            pairs_of_calls(*map(views, calls))
    with pytest.raises(ValueError, match="even number of rows, first view 1, got 5"):
        pairs_of_calls(views(1, rows=5), [], joint=True)
    with pytest.raises(ValueError, match=r"one shape, got \(4, 2\) and \(3, 2\)"):
        pairs_of_calls([views(1)[0], views(1, rows=3)[0]], [])
