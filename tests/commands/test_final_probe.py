import torch

from ssl_norm.commands.pretrain import linear_probe
from ssl_norm.data.dataset import Splits
from ssl_norm.settings.models import validate
from ssl_norm.train.builder import initial_encoder
from tests.evaluate.problems import coloured_images


def test_the_baselines_are_the_initialization_of_the_run_and_the_pixels(capsys):
    train, test = coloured_images(60, 16, 6, seed=0), coloured_images(30, 16, 6, seed=1)
    config = validate("pretrain", {"method": {"name": "byol"}, "encoder": {"name": "tiny16"}})
    splits, device = Splits(train, train, test), torch.device("cpu")
    collapsed = initial_encoder(config)[0]
    with torch.no_grad():
        for weight in collapsed.stage3.parameters():
            weight.zero_()
    found = linear_probe(config, collapsed, splits, device)
    assert found["linear_top1"] == found["knn_top1"] == found["chance"] == 1 / 6
    assert "simple statistics are better than these features" in capsys.readouterr().err
    untrained = linear_probe(config, initial_encoder(config)[0], splits, device)
    assert untrained["linear_top1"] > 0.5
    for name in ("linear_top1", "knn_top1"):
        assert found[f"{name}_random_init"] == untrained[f"{name}_random_init"] == untrained[name]
        assert found[f"{name}_image_statistics"] == untrained[f"{name}_image_statistics"] > 0.9
