import torch

from tests.learners.toy import make, views
from tests.reference.losses import regression_loss


def test_loss_from_its_own_parts():
    learner = make("byol", norm="bn").eval()
    view1, view2 = views()
    z = [learner.projector(learner.encoder(view)).detach() for view in (view1, view2)]
    p = [learner.predictor(projection).detach().numpy() for projection in z]
    t = [learner.target(view) for view in (view1, view2)]
    output = learner(view1, view2)
    expected = regression_loss(p[0], t[1].numpy()) + regression_loss(p[1], t[0].numpy())
    torch.testing.assert_close(output.loss.item(), expected, rtol=1e-12, atol=0)
    (z1, t2), (z2, t1) = output.pairs
    for found, wanted in zip((z1, z2, t1, t2), (*z, *t), strict=True):
        torch.testing.assert_close(found, wanted)


def test_target_starts_equal_and_follows_after_the_step():
    learner = make("byol", ema_decay=0.5, ema_schedule="constant")
    start = [p.clone() for p in learner.target.parameters()]
    online = [*learner.encoder.parameters(), *learner.projector.parameters()]
    assert all(map(torch.equal, start, online))
    with torch.no_grad():
        for parameter in online:
            parameter.add_(1.0)
    learner(*views())
    assert all(map(torch.equal, start, learner.target.parameters()))
    learner.after_step(0.1)
    for before, after in zip(start, learner.target.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), before + 0.5)


def test_no_gradient_through_the_target():
    learner = make("byol")
    view1, view2 = views()
    learner(view1, view2).loss.backward()
    found = learner.encoder[0].weight.grad.clone()
    learner.zero_grad()
    t1, t2 = learner.target(view1), learner.target(view2)
    for view, target in ((view1, t2), (view2, t1)):
        p = learner.predictor(learner.project(view))
        cosine = torch.cosine_similarity(p, target)
        (2 - 2 * cosine).mean().backward()
    torch.testing.assert_close(learner.encoder[0].weight.grad, found)
