import numpy as np
import torch

from ssl_norm.evaluate.sgd_probe import fit_sgd_probe
from tests.evaluate.problems import blobs


def test_equals_loops_of_the_update_rule():
    features, labels = blobs(10, 3, 3, seed=0)
    options = {"lr": 0.3, "epochs": 4, "batch_size": 4, "momentum": 0.9, "weight_decay": 0.01}
    found = fit_sgd_probe(features, labels, 3, **options, seed=5)
    point, velocity = np.zeros((3, 4)), np.zeros((3, 4))  # the last column is the bias
    generator = torch.Generator().manual_seed(5)
    step = 0
    for _ in range(4):
        order = torch.randperm(10, generator=generator).tolist()
        for batch in (order[:4], order[4:8], order[8:]):
            gradient = 0.01 * point
            for i in batch:
                x = np.append(features[i].numpy(), 1.0)
                odds = np.exp(point @ x)
                error = odds / odds.sum() - np.eye(3)[int(labels[i])]
                gradient += np.outer(error, x) / len(batch)
            velocity = 0.9 * velocity + gradient
            rate = 0.3 * (1 + np.cos(np.pi * step / 12)) / 2
            point = point - rate * (gradient + 0.9 * velocity)
            step += 1
    np.testing.assert_allclose(found.weight.numpy(), point[:, :3], rtol=1e-9)
    np.testing.assert_allclose(found.bias.numpy(), point[:, 3], rtol=1e-9)
