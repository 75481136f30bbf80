import torch

from tests.learners.toy import make, views
from tests.reference.losses import nt_xent


def test_loss_from_its_own_parts():
    learner = make("simclr", norm="bn", temperature=0.3).eval()
    view1, view2 = views()
    z1, z2 = (learner.projector(learner.encoder(view)).detach() for view in (view1, view2))
    output = learner(view1, view2)
    expected = nt_xent(z1.numpy(), z2.numpy(), 0.3)
    torch.testing.assert_close(output.loss.item(), expected, rtol=1e-12, atol=0)
    ((first, second),) = output.pairs
    torch.testing.assert_close(first, z1)
    torch.testing.assert_close(second, z2)
