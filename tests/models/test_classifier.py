import torch
from torch import nn

from ssl_norm.models.heads import Classifier
from ssl_norm.models.load import load_encoder_weights


def encoder(norm):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), norm)
    network.num_features = 6
    return network


def test_logits_are_linear_in_the_features():
    model = Classifier(encoder(nn.Identity()), 3, seed=0)
    images = torch.randn(4, 3, 2, 2)
    layer = model.classifier
    torch.testing.assert_close(model(images), model.encoder(images) @ layer.weight.T + layer.bias)


def test_the_linear_layer_begins_alike_whatever_the_encoder_is():
    torch.manual_seed(1)
    one = Classifier(encoder(nn.BatchNorm1d(6)), 3, seed=0)
    drawn = torch.rand(())
    other = Classifier(encoder(nn.Identity()), 3, seed=0)
    assert torch.equal(one.classifier.weight, other.classifier.weight)
    assert not torch.equal(
        Classifier(encoder(nn.Identity()), 3, seed=1).classifier.weight, one.classifier.weight
    )
    torch.manual_seed(1)
    encoder(nn.BatchNorm1d(6))
    assert torch.equal(torch.rand(()), drawn)  # the caller's generator is as it was


def test_its_encoder_is_found_in_a_checkpoint(tmp_path):
    model = Classifier(encoder(nn.BatchNorm1d(6)), 3, seed=0)
    torch.save({"learner": model.state_dict()}, tmp_path / "last.pt")
    found = encoder(nn.BatchNorm1d(6))
    assert load_encoder_weights(found, tmp_path / "last.pt", min_match=1.0).prefix == "encoder."
    assert torch.equal(found[1].weight, model.encoder[1].weight)
