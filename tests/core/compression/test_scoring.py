"""Scores of a picture's tokens when it has several pieces, and separators."""

import pytest
import torch
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import token_scores
from luvc_core.compression.scoring import image_scores
from luvc_core.compression.settings import Ramp, SpuSettings
from luvc_core.visual_tokens.vision_tokens import Grid, Piece

SPU = SpuSettings(Ramp())
WHOLE = Piece(Grid(1, 3, 3), Grid(1, 3, 3))
ROWS = Piece(Grid(1, 4, 5), Grid(1, 4, 5), "row")
END = Piece(Grid(2, 3, 3), Grid(2, 3, 3), "piece")


def assert_alike(scores: Tensor, expected: Tensor) -> None:
    """But for the thousandth that decides between equals."""
    torch.testing.assert_close(scores, expected, rtol=1.01e-3, atol=1e-6)


def test_each_piece_has_a_spectrum_of_its_own() -> None:
    hidden = torch.randn(9 + 24 + 19, 16)
    scores = image_scores(hidden, torch.arange(52), (WHOLE, ROWS, END), SPU)
    assert_alike(scores[:9], token_scores(hidden[:9], torch.arange(9), (1, 3, 3)))
    canvas = hidden[9:33].view(4, 6, 16)
    own = token_scores(canvas[:, :5].reshape(20, 16), torch.arange(20), (1, 4, 5)).view(4, 5)
    assert_alike(scores[9:33].view(4, 6)[:, :5], own)
    assert_alike(scores[9:33].view(4, 6)[:, 5], own.mean(1))
    own = token_scores(hidden[33:51], torch.arange(18), (2, 3, 3))
    assert_alike(scores[33:51], own)
    assert_alike(scores[51], own.mean())


def test_separators_score_what_is_left_of_their_line() -> None:
    hidden = torch.randn(33, 16)
    # Of the canvas: two tokens and the end of row 0, only the end of row 1, one token of row 2.
    places = torch.tensor([0, 4, 9 + 1, 9 + 2, 9 + 5, 9 + 11, 9 + 14])
    scores = image_scores(hidden[places], places, (WHOLE, ROWS), SPU)
    own = token_scores(hidden[[10, 11, 23]], torch.tensor([1, 2, 12]), (1, 4, 5))
    assert_alike(scores[[2, 3, 6]], own)
    assert_alike(scores[4], own[:2].mean())
    assert scores[5] == 0


def test_a_piece_may_have_left_altogether() -> None:
    hidden = torch.randn(3, 16)
    for places in (torch.tensor([0, 1, 2]), torch.tensor([9, 10, 14]), torch.tensor([14, 20, 26])):
        for spu in (SPU, SpuSettings(Ramp(), sampling="index"), SpuSettings(Ramp(), "random")):
            scores = image_scores(hidden, places, (WHOLE, ROWS), spu)
            assert scores.shape == (3,)
            assert scores.isfinite().all()


@pytest.mark.parametrize("seed", range(5))
def test_of_the_last_two_tokens_the_longer_one_stays(seed: int) -> None:
    hidden = torch.randn(2, 16, generator=torch.Generator().manual_seed(seed))
    scores = image_scores(hidden, torch.tensor([2, 6]), (WHOLE,), SPU)
    assert scores.argmax() == hidden.norm(dim=1).argmax()
