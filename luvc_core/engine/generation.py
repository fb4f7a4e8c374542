"""One answer on its way."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from luvc_core.compression.prune_before_llm import check_kept
from luvc_core.engine.decode import decode_step
from luvc_core.engine.detokenize import Detokenizer
from luvc_core.engine.prefill import Prefill, layer_counts
from luvc_core.engine.requests import Event, FinishReason, Request, Result
from luvc_core.engine.sampler import Sampler
from luvc_core.kv_cache.budget import kv_rows
from luvc_core.models.base import LanguageHalf, Prompt


class Generation:
    """Prompt, caches and tokens of one answer. Not to be worked on by two threads at once.

    Whoever wants this answer alone calls `step` until it gives None. A scheduler calls
    `prefill_layer` until there is a token, then computes one more with each step of a batch.

    check: what ends the answer by raising. kv_byte_count: of keys and values at most. began_at:
    when its first layer was computed, monotonic seconds, 0 until then. first_text_at: when there
    was text, likewise.
    """

    def __init__(
        self,
        language: LanguageHalf,
        request: Request,
        prompt: Prompt,
        check: Callable[[], None],
        pruning_left_out: bool = False,
    ) -> None:
        # Found here, a schedule for another depth is refused before anything is computed.
        per_image = layer_counts(prompt.images, request.spu, language.layer_count)
        for image, counts in zip(prompt.images, per_image, strict=True):
            check_kept(image, counts[0], "vision_tokens.kept_places")
        planned = [
            sum(counts[layer] for counts in per_image) for layer in range(language.layer_count)
        ]
        self._layer_counts: tuple[int, ...] = ()
        self._pruning_left_out = pruning_left_out
        self.check = check
        self.language = language
        self.began_at = 0.0
        self.first_text_at = 0.0
        self._prompt = prompt
        self._sampler = Sampler(request.sampling)
        self._text = Detokenizer(language.text_of, request.sampling.stop)
        self._most = min(request.sampling.max_tokens, language.context_length - prompt.length)
        rows = kv_rows(self._text_count, planned, self._most)
        self.kv_byte_count = sum(rows) * language.cache_row_bytes
        self.prefill: Prefill | None = Prefill(language, prompt, request.spu, rows)
        self.caches = self.prefill.caches
        self._tokens: list[int] = []
        self._first_token_at = 0.0
        self.ended = False

    @property
    def _text_count(self) -> int:
        return self._prompt.length - sum(p.token_count for p in self._prompt.images)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Those of the answer so far, without the one that ended it."""
        return tuple(self._tokens)

    @property
    def last_token(self) -> int:
        return self._tokens[-1]

    @property
    def next_position(self) -> Tensor:
        """float32 [axes]: where the last token of the answer stands."""
        place = self._prompt.next_position + len(self._tokens) - 1
        return torch.full((self._prompt.positions.shape[1],), place)

    @torch.inference_mode()
    def step(self) -> Event | None:
        """Compute one token; the first step computes the prompt too. None after the end.

        If it raises, the answer has ended.
        """
        if self.ended:
            return None
        try:
            self.check()
            if self.prefill is None:
                position = self.next_position.unsqueeze(0)
                last, caches = [self.last_token], [self.caches]
                logits = decode_step(self.language, last, position, caches)
                return self.take(logits[0])
            while (event := self.prefill_layer()) is None:
                pass
            return event
        except BaseException:
            self.close()
            raise

    @torch.inference_mode()
    def prefill_layer(self) -> Event | None:
        """Compute the prompt's next layer. After the last one, what the first token brought.

        Only while there is a `prefill`. Raises what `check` raises.
        """
        assert self.prefill is not None
        self.began_at = self.began_at or time.monotonic()
        self.check()
        self.prefill.advance()
        if not self.prefill.ended:
            return None
        logits, self.prefill = self.prefill.logits(), None
        self._layer_counts = tuple(cache.length - self._text_count for cache in self.caches)
        token = self._sampler.draw(logits)
        self._first_token_at = time.monotonic()
        return self._take(token)

    def take(self, logits: Tensor) -> Event:
        """Draw the next token, turn it into text, and see whether it ends the answer.

        logits: float32 [vocabulary]
        """
        return self._take(self._sampler.draw(logits))

    def _take(self, token: int) -> Event:
        event = self._event_of(token)
        if event.text:
            self.first_text_at = self.first_text_at or time.monotonic()
        return event

    def _event_of(self, token: int) -> Event:
        if token in self.language.stop_ids:
            return self._end(self._text.finish(), "stop")
        self._tokens.append(token)
        text = self._text.push(token)
        if self._text.stopped:
            return self._end(text, "stop")
        if len(self._tokens) == self._most:
            text += self._text.finish()
            return self._end(text, "stop" if self._text.stopped else "length")
        return Event(text)

    def close(self) -> None:
        """End the answer and let its memory go. Harmless when it has ended."""
        self.ended = True
        self.caches = []
        self.prefill = None

    def _end(self, text: str, reason: FinishReason) -> Event:
        now = time.monotonic()
        images = self._prompt.images
        result = Result(
            finish_reason=reason,
            prompt_token_count=self._text_count,
            completion_token_count=len(self._tokens),
            source_visual_token_count=sum(p.source_token_count for p in images),
            merged_visual_token_count=self._prompt.length - self._text_count,
            layer_visual_token_counts=self._layer_counts,
            cache_byte_count=sum(cache.byte_count for cache in self.caches),
            prefill_seconds=self._first_token_at - self.began_at,
            decode_seconds=now - self._first_token_at,
            pruning_left_out=self._pruning_left_out,
        )
        self.close()
        return Event(text, result)
