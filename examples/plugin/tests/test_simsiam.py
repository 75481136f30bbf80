import torch
from torch import nn

from ssl_norm_example.simsiam import SimSiam


def test_gradient_flows_through_predictions_only():
    encoder, projector, predictor = (nn.Linear(3, 3).double() for _ in range(3))
    learner = SimSiam(encoder, projector, predictor)
    view1, view2 = torch.randn(2, 5, 3, dtype=torch.float64)
    learner(view1, view2).loss.backward()
    found = projector.bias.grad.clone()
    projector.zero_grad()
    z1, z2 = (projector(encoder(view)) for view in (view1, view2))
    cosine = torch.cosine_similarity
    forward = cosine(predictor(z1), z2.detach()) + cosine(predictor(z2), z1.detach())
    (-forward.mean() / 2).backward()
    torch.testing.assert_close(found, projector.bias.grad)
