"""What methods of others compute, on tensors small enough to work it out by hand."""

import math

import pytest
import torch

from benchmarks.fidelity.methods import clse, pact
from benchmarks.fidelity.methods.average_pooling import pooled
from benchmarks.fidelity.methods.uniform_stride import strided
from benchmarks.fidelity.methods.vtw import mean_divergence
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, VisionTokens

IDENTITY = Identity("f", "r", "v", "p", "s", 4)


def test_strides_are_even() -> None:
    assert strided(10, 5).tolist() == [1, 3, 5, 7, 9]
    assert strided(10, 10).tolist() == list(range(10))
    assert strided(7, 2).tolist() == [1, 5]


def test_divergence_by_hand() -> None:
    full, other = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert mean_divergence([full], [other]) == pytest.approx(expected, rel=1e-5)
    assert mean_divergence([full, full], [full, other]) == pytest.approx(expected / 2, rel=1e-5)


def test_clse_passes_what_alternates_and_stops_what_is_flat() -> None:
    flat = torch.full((1, 8, 8, 2), 3.0)
    assert clse.high_pass(flat).abs().max() < 1e-5
    # Half a cycle a token along both axes: the gain is 1 - exp(-(0.25 + 0.25) / 0.02), nearly 1.
    board = 1.0 - 2.0 * ((torch.arange(8).view(-1, 1) + torch.arange(8)) % 2).float()
    x = board.view(1, 8, 8, 1)
    torch.testing.assert_close(clse.high_pass(x), x, atol=1e-5, rtol=1e-5)
    # One cycle in 8 tokens along one axis: 1 - exp(-(1/8)^2 / 0.02).
    wave = torch.cos(2 * math.pi * torch.arange(8) / 8).view(1, 1, 8, 1).expand(1, 8, 8, 1)
    gain = 1 - math.exp(-((1 / 8) ** 2) / 0.02)
    torch.testing.assert_close(clse.high_pass(wave), wave * gain, atol=1e-5, rtol=1e-4)


def test_clse_importance_by_hand() -> None:
    before, after = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 4.0, 12.0])
    expected = torch.tensor([0.0, 1 / 5, 1.0])  # the mean before is 2; the last is clipped
    torch.testing.assert_close(clse.importance(before, after), expected)


def test_pact_importance_by_hand() -> None:
    # One head of size 1: the mean query of places 0-2 is 2, that of place 3 does not count.
    queries = torch.tensor([1.0, 2.0, 3.0, 50.0]).view(4, 1, 1)
    keys = torch.tensor([0.0, 1.0, 0.5, 9.0]).view(4, 1, 1)
    hidden = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [1.0, 1.0]])
    weights = torch.tensor([0.0, 2.0, 1.0]).softmax(0)
    found = pact.importance(queries, keys, hidden, torch.tensor([1, 2]))
    torch.testing.assert_close(found, torch.stack((weights[1] * 5, weights[2] * 2)))


def test_pact_clusters_by_hand() -> None:
    """Two bundles of directions and one token alone between them, pruned."""

    def at(degrees: float) -> list[float]:
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    keys = torch.tensor([at(d) for d in (0, 2, 4, 45, 90, 92, 180)])
    survivors = torch.tensor([0, 1, 2, 4, 5])
    centres, cluster = pact.clusters(keys, survivors, 2)
    # In each bundle the one nearest to the other bundle is densest.
    assert centres.tolist() == [2, 4]
    # The cutoff is the delta of token 4: its distance to 2, 1 - cos 86; 1.5 times that takes in
    # the one at 45 degrees, and that at 180, whose distance to 4 is 1.
    assert cluster.tolist() == [0, 0, 0, 0, 1, 1, 1]
    narrow, alone = pact.clusters(keys, survivors, 4)
    # All but one survivor are centres; the cutoff is a few degrees: the pruned ones are lost.
    assert len(narrow) == 4
    assert alone[[3, 6]].tolist() == [-1, -1]


def test_pooling_by_hand() -> None:
    """2x4 to 1x2 with a separator at the end of each row."""
    shown = torch.arange(8.0).view(2, 4)
    lines = torch.cat((shown, torch.full((2, 1), 100.0)), dim=1)
    embeddings = lines.flatten().unsqueeze(1).expand(-1, 4).contiguous()
    places = torch.cartesian_prod(torch.zeros(1), torch.arange(2.0), torch.arange(5.0))
    grid = Grid(1, 2, 4)
    tokens = VisionTokens(
        embeddings, (Piece(grid, grid, "row"),), places, torch.ones(10), IDENTITY, ""
    )
    small = pooled(tokens, 0.3)
    assert (small.pieces[0].grid, small.pieces[0].source_grid) == (Grid(1, 1, 2), grid)
    assert small.embeddings[:, 0].tolist() == [2.5, 4.5, 100.0]
    assert small.positions.tolist() == [[0, 0.5, 0.5], [0, 0.5, 2.5], [0, 0.5, 4.0]]
    assert small.sizes.tolist() == [4, 4, 0]
