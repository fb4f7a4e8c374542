"""Methods of others, each against its definition worked out by hand or by stock code."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.fidelity import attention
from benchmarks.fidelity.methods import METHODS, clse, pact
from benchmarks.fidelity.methods.average_pooling import pooled
from benchmarks.fidelity.methods.tome_1d import merge_settings
from benchmarks.fidelity.methods.uniform_stride import strided
from benchmarks.fidelity.methods.vtw import mean_divergence
from benchmarks.fidelity.question import Checkpoint, Question
from benchmarks.tasks.files import Asked
from luvc_core.algorithms.ragged import LayerCache
from luvc_core.chat import Message
from luvc_core.encode import Encoder
from luvc_core.engine.engine import Engine
from luvc_core.engine.pruning import Left
from luvc_core.models.base import LanguageHalf, Rotary, VisionHalf
from luvc_core.tokens import Grid, Identity, Piece, VisionTokens
from tests.clips import film, moving_square
from tests.fixtures import encoded, noise_picture

FAMILIES = pytest.mark.parametrize(
    "family", ["qwen2_vl", "internvl", "llava_onevision"], indirect=True, scope="session"
)
LAYERS = 5
IDENTITY = Identity("f", "r", "v", "p", "s", 4)


@pytest.fixture(scope="session")
def question(vision: VisionHalf, language: LanguageHalf) -> Question:
    checkpoint = Checkpoint("random", Encoder(vision), Engine(language))
    picture = encoded(noise_picture(140, 140, 3))
    return Question(checkpoint, Asked((picture,), "What is it?", "?"), "presence", 1)


def entering(question: Question, pruner: Any) -> list[tuple[Tensor, Rotary]]:
    """What enters each layer, after pruning."""
    seen: list[tuple[Tensor, Rotary]] = []
    plain = question.language.layer

    def layer(index: int, hidden: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        if len(seen) < LAYERS:
            seen.append((hidden, rotary))
        return plain(index, hidden, rotary, cache)

    with attention.layers_by(question.language, layer):
        hooks = pruner.hooks() if pruner else None
        question.checkpoint.ask(question.plain, "What is it?", pruner, hooks)
    return seen


@FAMILIES
@pytest.mark.parametrize("name", [name for name, m in METHODS.items() if m.matched])
def test_every_method_answers_at_its_share(name: str, question: Question) -> None:
    method = METHODS[name]
    result = method.answer(question, 0.5).result
    share = result.layer_averaged_visual_token_count / question.token_count
    # Grids of a few tokens and five whole layers are coarse.
    coarse = name in ("pooling", "downsampling", "tome-1d", "vtw")
    assert share == pytest.approx(0.5, abs=0.15 if coarse else 1.5 / question.token_count)
    assert "layer" not in question.language.__dict__


@FAMILIES
@torch.no_grad()
def test_attention_of_the_last_query_is_that_of_stock_code(question: Question, stock: Any) -> None:
    text = stock.model.language_model
    prompt = question.language.tokenize((Message("user", (*question.plain, "What?")),))
    hidden = torch.randn(prompt.length, 64, generator=torch.Generator().manual_seed(0))
    rotary = question.language.rotary(prompt.positions)
    layer = text.layers[2]
    before, text.config._attn_implementation = text.config._attn_implementation, "eager"
    mask = torch.full((prompt.length, prompt.length), -math.inf).triu(1)
    _, weights = layer.self_attn(
        layer.input_layernorm(hidden[None]),
        attention_mask=mask[None, None],
        position_embeddings=rotary,
    )
    text.config._attn_implementation = before
    found = attention.last_query_attention(question.language, 2, hidden, rotary)
    torch.testing.assert_close(found, weights[0, :, -1].mean(dim=0), atol=1e-5, rtol=1e-4)


def test_a_bias_of_none_is_the_plain_layer_and_log_two_counts_a_token_twice(
    question: Question,
) -> None:
    """Attending to a key with log 2 on its logit is attending to two keys like it."""
    language = question.language
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 64, generator=generator)
    rotary = language.rotary(torch.arange(6.0)[:, None].expand(-1, 3))
    with torch.no_grad():
        plain = language.layer(1, hidden, rotary, LayerCache())
        same = attention.biased_layer(language, 1, hidden, rotary, LayerCache(), torch.zeros(6))
        torch.testing.assert_close(same, plain, atol=1e-5, rtol=1e-4)
        bias = torch.tensor([0, math.log(2), 0, 0, 0, 0])
        biased = attention.biased_layer(language, 1, hidden, rotary, LayerCache(), bias)
        twice = torch.tensor([0, 1, 1, 2, 3, 4, 5])
        doubled = (rotary[0][:, twice], rotary[1][:, twice])
        expected = language.layer(1, hidden[twice], doubled, LayerCache())
    torch.testing.assert_close(biased[2:], expected[3:], atol=1e-5, rtol=1e-4)


def test_strides_are_even() -> None:
    assert strided(10, 5).tolist() == [1, 3, 5, 7, 9]
    assert strided(10, 10).tolist() == list(range(10))
    assert strided(7, 2).tolist() == [1, 5]


def test_random_tokens_differ_between_questions_and_not_between_runs(question: Question) -> None:
    other = Question(question.checkpoint, question.asked, "presence", 2)
    left = [Left(torch.arange(3, 23), torch.arange(20))]
    chosen = [
        METHODS["random"].pruner(own, 0.5).choose(0, torch.zeros(30, 4), None, left, 10).tolist()  # type: ignore
        for own in (question, question, other)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert sorted(set(chosen[0])) == chosen[0]


def test_fastv_keeps_what_the_last_token_attends_to(question: Question) -> None:
    plain = entering(question, None)
    pruned = entering(question, METHODS["fastv"].pruner(question, 0.5))
    prompt = question.language.tokenize((Message("user", (*question.plain, "What is it?")),))
    with torch.no_grad():
        weights = attention.last_query_attention(question.language, 0, *plain[0])
    visual = prompt.visual.nonzero().squeeze(1)
    count = len(pruned[1][0]) - (prompt.length - len(visual))
    best = visual[weights[visual].topk(count).indices]
    stays = torch.cat((best, (~prompt.visual).nonzero().squeeze(1))).sort().values
    torch.testing.assert_close(pruned[1][0], plain[1][0][stays])
    assert torch.equal(pruned[1][1][0], plain[1][1][0][:, stays])


def test_pyramiddrop_counts_what_is_left_anew(question: Question) -> None:
    pruner = METHODS["pyramiddrop"].pruner(question, 0.5)
    seen = entering(question, pruner)
    lengths = [len(hidden) for hidden, _ in seen]
    assert lengths[0] > lengths[1] > lengths[2] > lengths[3] == lengths[4]
    for hidden, rotary in seen[1:]:
        line = attention.line_positions(0, len(hidden), 3)
        assert torch.equal(rotary[0], question.language.rotary(line)[0])


def test_v2drop_keeps_what_a_layer_changed_most(question: Question) -> None:
    plain = entering(question, None)
    pruned = entering(question, METHODS["v2drop"].pruner(question, 0.5))
    prompt = question.language.tokenize((Message("user", (*question.plain, "What is it?")),))
    visual = prompt.visual.nonzero().squeeze(1)
    change = (plain[1][0] - plain[0][0]).norm(dim=1)[visual]
    count = len(pruned[1][0]) - (prompt.length - len(visual))
    stays = visual[change.topk(count).indices]
    stays = torch.cat((stays, (~prompt.visual).nonzero().squeeze(1))).sort().values
    torch.testing.assert_close(pruned[1][0], plain[1][0][stays])


def test_vtw_drops_all_at_one_layer(question: Question) -> None:
    result = METHODS["vtw"].answer(question, 0.6).result
    count = question.token_count
    assert result.layer_visual_token_counts == (count,) * 3 + (0,) * 2


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


def test_pact_merges_clusters_and_weighs_them(question: Question) -> None:
    result = METHODS["pact"].answer(question, 0.5).result
    assert len(set(result.layer_visual_token_counts)) == 2
    pruner: Any = METHODS["pact"].pruner(question, 0.5)
    question.checkpoint.ask(question.plain, "What is it?", pruner, pruner.hooks())
    bias = pruner._bias
    assert len(bias) == result.prompt_token_count + result.layer_visual_token_counts[-1]
    # Sizes are whole numbers, and no more than there were tokens.
    sizes = bias.exp()
    torch.testing.assert_close(sizes, sizes.round(), atol=1e-3, rtol=1e-3)
    text = len(bias) - result.layer_visual_token_counts[-1]
    assert sizes.sum() - text <= question.token_count + 1e-2


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


def test_tome_leaves_the_number_of_tokens_of_a_smaller_grid(question: Question) -> None:
    grid = question.plain[0].pieces[0].grid
    oim = merge_settings(question.plain[0], 0.5)
    (tokens,) = METHODS["tome-1d"].visual(question, 0.5)
    expected = round(oim.keep_rows * grid.rows), round(oim.keep_columns * grid.columns)
    assert (tokens.pieces[0].grid.rows, tokens.pieces[0].grid.columns) == expected
    # Merged along the raster: some tokens hold patches of two rows that are no neighbours.
    oim_tokens = question.encode(oim)[0]
    assert not torch.allclose(tokens.embeddings, oim_tokens.embeddings)


@FAMILIES
def test_downsampling_sees_a_smaller_picture(question: Question, vision: VisionHalf) -> None:
    before = [t.embeddings.clone() for t in question.plain]
    (small,) = METHODS["downsampling"].visual(question, 0.4)
    assert 0 < small.token_count < question.token_count
    again = Question(question.checkpoint, question.asked, "presence", 0).plain
    assert all(torch.equal(a, b.embeddings) for a, b in zip(before, again, strict=True))


@FAMILIES
@pytest.mark.parametrize("name", ["pooling", "tome-1d", "pact", "luvc"])
def test_clips_are_compressed_too(name: str, question: Question) -> None:
    asked = Asked((film(moving_square(8)),), "What moves?", "?")
    clip = Question(question.checkpoint, asked, "movement", 0)
    result = METHODS[name].answer(clip, 0.5).result
    assert result.layer_averaged_visual_token_count < 0.75 * clip.token_count


def test_layers_by_can_be_nested_and_leaves_nothing(question: Question) -> None:
    language = question.language
    with attention.renumbered(language, 1), attention.watched(language, attention.Seen()):
        assert "layer" in language.__dict__
    assert "layer" not in language.__dict__
