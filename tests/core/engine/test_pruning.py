"""Pruning in the prefill and the ragged caches it leaves, against dense masks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from luvc_core.compression.algorithms.frequency_scores import top_indices
from luvc_core.compression.scoring import image_scores
from luvc_core.compression.settings import Keep, Ramp, SpuSettings
from luvc_core.engine.decode import decode_step
from luvc_core.engine.prefill import prefill
from luvc_core.models.base import LanguageHalf, Prompt
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import two_images
from tests.support.families import ALL_FAMILIES

pytestmark = [pytest.mark.transformers, ALL_FAMILIES]

NO_OP = SpuSettings(Keep((1.0, 1.0, 1.0, 1.0, 0.0)))
SCHEDULES = {
    "ramp": SpuSettings(Ramp(start=0.0)),
    "late": SpuSettings(Ramp(start=0.6), score="low_pass", axis="raster"),
    "step": SpuSettings(Ramp(start=0.4, shape="step")),
    "first layer": SpuSettings(Keep((0.5, 0.4, 0.2, 0.1, 0.0)), sampling="index"),
    "from the start none": SpuSettings(Keep((0.0,) * 5)),
    "norm": SpuSettings(Keep((1.0, 0.7, 0.7, 0.3, 0.0)), score="norm"),
    "own weight": SpuSettings(Ramp(start=0.1, first_keep=0.6), proportional_attention=False),
    "random": SpuSettings(Ramp(start=0.2, shape="cosine"), score="random"),
}
LAYERS = 5


@torch.no_grad()
def dense_logits(
    stock: Any,
    prompt: Prompt,
    answered: list[int],
    counts: Callable[[int], tuple[int, ...]],
    spu: SpuSettings,
) -> Tensor:
    """Return logits after the last token, from all layers over the whole sequence.

    A mask for each layer hides the visual tokens that have left before it, and raises those that
    stand for them. No cache, no gathering.
    """
    text = stock.model.language_model
    length = prompt.length + len(answered)
    hidden = text.embed_tokens(torch.cat((prompt.ids, torch.tensor(answered, dtype=torch.long))))
    hidden[: prompt.length][prompt.segment >= 0] = torch.cat(
        [image.embeddings for image in prompt.images]
    )
    later = prompt.next_position + torch.arange(len(answered))
    axes = prompt.positions.shape[1]
    positions = torch.cat((prompt.positions, later[:, None].expand(-1, axes))).T
    rotary = text.rotary_emb(hidden, positions[:, None] if axes > 1 else positions)
    alive, weights = torch.ones(length, dtype=torch.bool), torch.ones(length)
    for index, layer in enumerate(text.layers):
        for number, image in enumerate(prompt.images):
            whole = (prompt.segment == number).nonzero().squeeze(1)
            there = alive[whole].nonzero().squeeze(1)
            count = counts(image.token_count)[index]
            if count < len(there):
                scores = image_scores(hidden[whole[there]], there, image.pieces, spu)
                stays = whole[there[top_indices(scores, count)]]
                alive[whole] = False
                alive[stays] = True
                if count and spu.proportional_attention:
                    for leaves in set(whole[there].tolist()) - set(stays.tolist()):
                        alike = torch.cosine_similarity(hidden[leaves], hidden[stays])
                        weights[stays[alike.argmax()]] += weights[leaves]
        visible = torch.ones(length, length, dtype=torch.bool).tril() & alive
        mask = weights.log().expand(length, -1).masked_fill(~visible, -torch.inf)
        hidden = layer(
            hidden[None], attention_mask=mask[None, None], position_embeddings=rotary
        ).squeeze(0)
    return stock.lm_head(text.norm(hidden[-1]))


def in_two_runs(prompt: Prompt) -> Prompt:
    """Put a token of text into the middle of the first image."""
    places = (prompt.segment == 0).nonzero().squeeze(1).tolist()
    order = list(range(prompt.length))
    order.insert(places[len(places) // 2], order.pop(places[-1] + 1))
    return dataclasses.replace(prompt, ids=prompt.ids[order], segment=prompt.segment[order])


@pytest.mark.parametrize("split", [False, True], ids=["one run", "two runs"])
@pytest.mark.parametrize("name", SCHEDULES)
@torch.inference_mode()
def test_ragged_decoding_equals_dense_masks(
    name: str,
    split: bool,
    images: list[VisionTokens],
    language: LanguageHalf,
    stock: Any,
) -> None:
    spu = SCHEDULES[name]
    prompt = language.tokenize(two_images(images))
    prompt = in_two_runs(prompt) if split else prompt
    logits, caches = prefill(language, prompt, spu, lambda: None)
    answered: list[int] = []
    for step in range(8):
        expected = dense_logits(
            stock, prompt, answered, lambda count: spu.layer_counts(LAYERS, count), spu
        )
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        answered.append(int(logits.argmax()))
        position = torch.full((1, prompt.positions.shape[1]), prompt.next_position + step)
        logits = decode_step(language, answered[-1:], position, [caches])[0]
    text_length = prompt.length - sum(p.token_count for p in images)
    for index, cache in enumerate(caches):
        left = sum(spu.layer_counts(LAYERS, p.token_count)[index] for p in images)
        assert cache.length == text_length + left + 8
    assert caches[-1].length == text_length + 8


def test_a_schedule_that_keeps_all_is_the_plain_model(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    """The last layer has no visual tokens by definition: compare up to there, bit by bit."""
    prompt = language.tokenize(two_images(images))
    _, plain = prefill(language, prompt, None, lambda: None)
    _, pruned = prefill(language, prompt, NO_OP, lambda: None)
    for index in range(LAYERS - 1):
        assert torch.equal(plain[index].keys, pruned[index].keys)
        assert torch.equal(plain[index].values, pruned[index].values)


def test_text_never_leaves_and_nothing_shifts(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    """Keys of text in the first layer do not depend on the schedule: same tokens, same places."""
    prompt = language.tokenize(two_images(images))
    _, plain = prefill(language, prompt, None, lambda: None)
    _, none = prefill(language, prompt, SCHEDULES["from the start none"], lambda: None)
    assert torch.allclose(none[0].keys, plain[0].keys[:, :, ~prompt.visual], atol=1e-6)
