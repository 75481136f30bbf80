"""A plain PyTorch loop independent of this package, and the lines that monitor it."""

import torch
from torch import nn
from torch.nn.functional import cosine_similarity
from torch.nn.parallel import DistributedDataParallel
from torchvision.models import resnet18

from ssl_norm.distributed import is_distributed, rank, world_size
from ssl_norm.monitors import CollapseMonitor, LayerMonitor, Thresholds, layers_of

STEPS, BATCH = 4, 8


class SimSiam(nn.Module):
    """ResNet-18 with group norm, independent of the split over processes, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = resnet18(num_classes=32, norm_layer=lambda width: nn.GroupNorm(8, width))
        self.projector = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 16))
        self.predictor = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))

    def forward(self, *views):
        z = [self.projector(self.encoder(view)) for view in views]
        return z, [self.predictor(embedding) for embedding in z]


def train_and_watch() -> dict:
    """Train on this process's share of a few batches; return the values of the monitor."""
    torch.manual_seed(0)
    network = SimSiam().double()
    model = DistributedDataParallel(network) if is_distributed() else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(1)

    layers = layers_of(network.encoder, network.projector, network.predictor)
    monitor = CollapseMonitor(
        Thresholds(complete_cosine=0.9, healthy_cosine=0.9),  # untrained networks are near collapse
        patience=2,
        gather=True,
        layers=LayerMonitor(layers, every=2),
    )
    for step in range(1, STEPS + 1):
        images = torch.randn(2, BATCH, 3, 16, 16, generator=generator, dtype=torch.float64)
        (z1, z2), (p1, p2) = model(*(view.chunk(world_size())[rank()] for view in images))
        loss = -(cosine_similarity(p1, z2.detach()) + cosine_similarity(p2, z1.detach())).mean()
        optimizer.zero_grad()
        loss.backward()
        monitor.observe(step, [(z1, z2)], loss)
        optimizer.step()
    return {
        "values": monitor.collect(),
        "verdict": monitor.verdict,
        "evidence": monitor.evidence,
        "snapshots": [tuple(snapshot) for snapshot in monitor.take_snapshots()],
        "layers": [tuple(row) for row in monitor.take_layer_rows()],
    }
