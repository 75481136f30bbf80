import pytest
from torch import nn

from ssl_norm.monitors.projectors import find_layers, find_projectors


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
        (
            ["projector.student", "projector.teacher"],
            "projector.student",
            True,
        ),  # stable-pretraining
        (["head.student", "predictor"], "head.student", False),  # one network in both roles
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


def test_the_classifier_of_an_encoder_is_no_projector():
    mae = network("backbone.vit.blocks", "decoder_embed")
    mae.backbone.vit.head = nn.Linear(4, 2)
    with pytest.raises(ValueError, match=r"no projector under a usual name .* decoder_embed"):
        find_projectors(mae)
    moco_v3 = find_projectors(network("base_encoder.head", "momentum_encoder.head"))
    assert moco_v3 == {"online": "base_encoder.head", "target": "momentum_encoder.head"}


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
