import pytest
import torch
from torch import nn

from ssl_norm.learners.shuffle import on_permuted_batch, shared_permutation

ROWS = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PERMUTATION = torch.tensor([3, 0, 6, 1, 7, 2, 5, 4])


def test_the_network_sees_the_permuted_batch_and_rows_come_back_to_their_places():
    seen = []

    def network(rows):
        seen.append(rows)
        return rows.flatten(1)

    assert torch.equal(on_permuted_batch(network, ROWS, PERMUTATION), ROWS.flatten(1))
    assert torch.equal(seen[0], ROWS[PERMUTATION])


def test_outputs_stand_under_the_statistics_of_their_permuted_chunk():
    def ghost_network(rows):
        norm = nn.BatchNorm2d(3).double()
        return torch.cat([norm(chunk) for chunk in rows.split(4)]).flatten(1)

    outputs = on_permuted_batch(ghost_network, ROWS, PERMUTATION)
    for chunk in ([3, 0, 6, 1], [7, 2, 5, 4]):
        expected = nn.BatchNorm2d(3).double()(ROWS[chunk]).flatten(1)
        torch.testing.assert_close(outputs[chunk], expected, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(outputs, ghost_network(ROWS), atol=1e-3)


@pytest.mark.parametrize(
    "network",
    [nn.GroupNorm(3, 3), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3).eval()],
    ids=["groups", "convolution", "whole batch", "population"],
)
def test_changes_nothing_without_statistics_of_parts(network):
    network = network.double()
    outputs = on_permuted_batch(network, ROWS, PERMUTATION)
    torch.testing.assert_close(outputs, network(ROWS), rtol=1e-12, atol=1e-12)
    assert not outputs.requires_grad


def test_permutation_is_given_by_the_seed():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append([shared_permutation(50) for _ in range(2)])
    assert torch.equal(drawn[0][0].sort().values, torch.arange(50))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_permutation_of_another_length():
    with pytest.raises(ValueError, match=r"permutation of the 8 rows of all ranks.*got 7 places"):
        on_permuted_batch(torch.neg, ROWS, torch.randperm(7))
