"""Time one answer of a language half, by the product's engine or by stock `generate`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.settings import SpuSettings
from luvc_core.engine import prefill
from luvc_core.engine.pruner import SpuPruner
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.models.base import LanguageHalf
from luvc_core.visual_tokens.vision_tokens import VisionTokens

Clock = Callable[[], float]


@dataclass(frozen=True)
class Run:
    """One answer. Seconds are those of the clock that was given.

    Attributes:
        average: visual tokens in the average layer.
        first: seconds to the first token.
        total: seconds to the last token.
        pruning: seconds of scoring, choosing and leaving out, a part of `first`.
        kv_bytes: of keys and values, at the end.
    """

    name: str
    visual_tokens: int
    average: float
    first: float
    total: float
    pruning: float
    kv_bytes: int


def run(
    name: str,
    language: LanguageHalf,
    shown: VisionTokens,
    spu: SpuSettings | None,
    new: int,
    clock: Clock = time.process_time,
) -> Run:
    """Make one answer by the engine, alone.

    Args:
        name: of the variant.
        language: the half.
        shown: the image's visual tokens.
        spu: the pruning, or None.
        new: tokens of the answer.
        clock: seconds of which time.
    """
    engine = RequestProcessor(language)
    request = Request((Message("user", (shown, "?")),), SamplingParams(new), spu)
    with _timed_pruning(clock) as pruning:
        start = clock()
        generation = engine.start(request)
        event = generation.step()
        first = clock() - start
        while event is not None and event.result is None:
            event = generation.step()
        total = clock() - start
    assert event is not None
    assert event.result is not None
    return Run(
        name,
        shown.token_count,
        event.result.layer_averaged_visual_token_count,
        first,
        total,
        sum(pruning),
        event.result.cache_byte_count,
    )


@torch.inference_mode()
def run_stock(
    stock: Any,
    language: LanguageHalf,
    shown: VisionTokens,
    new: int,
    clock: Clock = time.process_time,
) -> Run:
    """Make the same answer by stock `generate`.

    Args:
        stock: the stock model, of the same weights.
        language: the half, which tokenizes and embeds the prompt.
        shown: the image's visual tokens.
        new: tokens of the answer.
        clock: seconds of which time.
    """
    times: list[float] = []

    def note(ids: Tensor, logits: Tensor) -> Tensor:
        times.append(clock())
        return logits

    start = clock()
    prompt = language.tokenize((Message("user", (shown, "?")),))
    embeds = language.embed(prompt.ids)
    embeds[prompt.visual] = shown.embeddings.to(embeds.dtype)
    found = stock.generate(
        inputs_embeds=embeds[None],
        attention_mask=torch.ones(1, prompt.length, dtype=torch.long),
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=False,
        pad_token_id=0,
        logits_processor=[note],
        return_dict_in_generate=True,
    )
    total = clock() - start
    # Renamed in transformers 5.24.
    cache = found["cache" if "cache" in found else "past_key_values"]
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    count = shown.token_count
    return Run("generate", count, count, times[0] - start, total, 0.0, held)


@contextmanager
def _timed_pruning(clock: Clock) -> Iterator[list[float]]:
    """Collect the seconds of each part of pruning within the block.

    The parts are scoring and choosing, then leaving out.
    """
    seconds: list[float] = []

    def timed(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object) -> Any:
            start = clock()
            found = plain(*arguments)
            seconds.append(clock() - start)
            return found

        return call

    # `_drop` is looked up by prefill in its own names.
    leave_out = timed(vars(prefill)["_drop"])
    with (
        mock.patch.object(SpuPruner, "decide", timed(SpuPruner.decide)),
        mock.patch.object(prefill, "_drop", leave_out),
    ):
        yield seconds
