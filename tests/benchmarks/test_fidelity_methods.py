"""Methods of others, in the engine: against the plain model's own hidden states and stock code."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.common.checkpoint import Checkpoint
from benchmarks.fidelity import attention
from benchmarks.fidelity.methods import METHODS
from benchmarks.fidelity.methods.tome_1d import merge_settings
from benchmarks.fidelity.question import Question
from benchmarks.tasks.question_files import Asked
from luvc_core.chat import Message
from luvc_core.engine.pruner import SurvivingTokens
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import LanguageHalf, Rotary, VisionHalf
from tests.support.checkpoints import encoded, noise_image
from tests.support.video_files import encode_video, moving_square

FAMILIES = pytest.mark.parametrize(
    "family", ["qwen2_vl", "internvl", "llava_onevision"], indirect=True, scope="session"
)
LAYERS = 5


@pytest.fixture(scope="session")
def question(vision: VisionHalf, language: LanguageHalf) -> Question:
    checkpoint = Checkpoint("random", MediaEncoder(vision), RequestProcessor(language))
    image = encoded(noise_image(140, 140, 3))
    return Question(checkpoint, Asked((image,), "What is it?", "?"), "presence", 1)


def entering(question: Question, pruner: Any) -> list[tuple[Tensor, Rotary]]:
    """Return what enters each layer, after pruning."""
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


def test_random_tokens_differ_between_questions_and_not_between_runs(question: Question) -> None:
    other = Question(question.checkpoint, question.asked, "presence", 2)
    survivors = [SurvivingTokens(torch.arange(3, 23), torch.arange(20))]
    chosen = [
        METHODS["random"]
        .pruner(own, 0.5)
        .choose(0, torch.zeros(30, 4), None, survivors, 10)  # type: ignore
        .indices.tolist()
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
def test_downsampling_sees_a_smaller_image(question: Question, vision: VisionHalf) -> None:
    before = [t.embeddings.clone() for t in question.plain]
    (small,) = METHODS["downsampling"].visual(question, 0.4)
    assert 0 < small.token_count < question.token_count
    again = Question(question.checkpoint, question.asked, "presence", 0).plain
    assert all(torch.equal(a, b.embeddings) for a, b in zip(before, again, strict=True))


@FAMILIES
@pytest.mark.parametrize("name", ["pooling", "tome-1d", "pact", "luvc"])
def test_videos_are_compressed_too(name: str, question: Question) -> None:
    asked = Asked((encode_video(moving_square(8)),), "What moves?", "?")
    video = Question(question.checkpoint, asked, "movement", 0)
    result = METHODS[name].answer(video, 0.5).result
    assert result.layer_averaged_visual_token_count < 0.75 * video.token_count


def test_layers_by_can_be_nested_and_leaves_nothing(question: Question) -> None:
    language = question.language
    with attention.renumbered(language, 1), attention.watched(language, attention.LayerInput()):
        assert "layer" in language.__dict__
    assert "layer" not in language.__dict__
