"""One answer, from its prompt to its last token."""

import time
from collections.abc import Callable
from enum import Enum, auto

import torch
from torch import Tensor

from luvc_core.compression.prune_before_llm import check_selection
from luvc_core.engine.decode import decode_generations
from luvc_core.engine.detokenize import Detokenizer
from luvc_core.engine.prefill import Prefill, layer_counts
from luvc_core.engine.requests import Event, FinishReason, Request, Result
from luvc_core.engine.sampler import Sampler
from luvc_core.kv_cache.budget import kv_rows
from luvc_core.kv_cache.layer_cache import LayerCache
from luvc_core.models.base import LanguageHalf, Prompt


class GenerationStatus(Enum):
    """The next step of an answer: a layer of its prompt, a token, or nothing."""

    PREFILL = auto()
    DECODE = auto()
    FINISHED = auto()


class Generation:
    """Prompt, caches and tokens of one answer. Not to be worked on by two threads at once.

    To compute this answer alone, call `step` until it returns None. A scheduler calls
    `prefill_layer` until there is a token, then `decode_generations` and `sample_next` for each
    further one.

    Attributes:
        language: the model.
        check: raises where the answer has to end, as after its deadline.
        status: what comes next.
        caches: keys and values, one a layer; empty after the end.
        kv_byte_count: bytes of keys and values that it will hold at most.
        began_at: when its first layer was computed, monotonic seconds; 0 until then.
        first_text_at: when there was text, likewise.
    """

    def __init__(
        self,
        language: LanguageHalf,
        request: Request,
        prompt: Prompt,
        check: Callable[[], None],
        pruning_left_out: bool = False,
    ) -> None:
        """Prepare an answer; nothing is computed yet.

        Args:
            language: the model.
            request: what is asked, and how tokens are pruned and sampled.
            prompt: the request's conversation, tokenised.
            check: called between layers of the prefill and before every step; what it raises ends
                the answer.
            pruning_left_out: whether pruning was wanted and would not have paid; for the result.

        Raises:
            InvalidInput: where an image came with another number of tokens than its schedule wants.
            InvalidSettings: for a schedule that is for another depth.
        """
        # Count before anything is computed, to refuse a schedule for another depth early.
        per_image = layer_counts(prompt.images, request.spu, language.layer_count)
        for image, counts in zip(prompt.images, per_image, strict=True):
            check_selection(image, counts[0], "vision_tokens.kept_places")
        planned = [
            sum(counts[layer] for counts in per_image) for layer in range(language.layer_count)
        ]
        self._layer_counts: tuple[int, ...] = ()
        self._pruning_left_out = pruning_left_out
        self.check = check
        self.language = language
        self.status = GenerationStatus.PREFILL
        self.began_at = 0.0
        self.first_text_at = 0.0
        self._prompt = prompt
        self._sampler = Sampler(request.sampling)
        self._text = Detokenizer(language.text_of, request.sampling.stop)
        self._max_tokens = min(request.sampling.max_tokens, language.context_length - prompt.length)
        rows = kv_rows(self._text_count, planned, self._max_tokens)
        self.kv_byte_count = sum(rows) * language.cache_row_bytes
        self._prefill: Prefill | None = Prefill(language, prompt, request.spu, rows)
        self.caches: list[LayerCache] = self._prefill.caches
        self._tokens: list[int] = []
        self._first_token_at = 0.0

    @property
    def _text_count(self) -> int:
        return self._prompt.length - sum(image.token_count for image in self._prompt.images)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of the answer so far, without the one that ended it."""
        return tuple(self._tokens)

    @property
    def last_token(self) -> int:
        """The token of the answer that was sampled last."""
        return self._tokens[-1]

    @property
    def next_position(self) -> Tensor:
        """float32 [axes]: the rotary position of the last token of the answer."""
        position = self._prompt.next_position + len(self._tokens) - 1
        return torch.full((self._prompt.positions.shape[1],), position)

    @property
    def next_prefill_rows(self) -> int:
        """How many tokens enter the prompt's next layer; 0 after the prefill."""
        return self._prefill.next_rows if self._prefill else 0

    @property
    def remaining_prefill_rows(self) -> int:
        """How many tokens enter the prompt's layers still to come, summed over these layers."""
        return self._prefill.remaining_rows if self._prefill else 0

    @torch.inference_mode()
    def step(self) -> Event | None:
        """Compute one token; the first step computes the prompt too. None after the end.

        If it raises, the answer has ended.
        """
        if self.status is GenerationStatus.FINISHED:
            return None
        try:
            self.check()
            if self.status is GenerationStatus.DECODE:
                return self.sample_next(decode_generations([self])[0])
            while (event := self.prefill_layer()) is None:
                pass
            return event
        except BaseException:
            self.close()
            raise

    @torch.inference_mode()
    def prefill_layer(self) -> Event | None:
        """Compute the prompt's next layer. After the last one, return what the first token brought.

        Only while the status is PREFILL. Raises what `check` raises.
        """
        assert self._prefill is not None
        self.began_at = self.began_at or time.monotonic()
        self.check()
        self._prefill.advance()
        if not self._prefill.ended:
            return None
        logits, self._prefill = self._prefill.logits(), None
        self.status = GenerationStatus.DECODE
        self._layer_counts = tuple(cache.length - self._text_count for cache in self.caches)
        token = self._sampler.sample(logits)
        self._first_token_at = time.monotonic()
        return self._add_token(token)

    def sample_next(self, logits: Tensor) -> Event:
        """Sample the next token, turn it into text, and see whether it ends the answer.

        logits: float32 [vocabulary]
        """
        return self._add_token(self._sampler.sample(logits))

    def close(self) -> None:
        """End the answer and release its memory. Harmless when it has ended."""
        self.status = GenerationStatus.FINISHED
        self.caches = []
        self._prefill = None

    def _add_token(self, token: int) -> Event:
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
        if len(self._tokens) == self._max_tokens:
            text += self._text.finish()
            return self._end(text, "stop" if self._text.stopped else "length")
        return Event(text)

    def _end(self, text: str, reason: FinishReason) -> Event:
        now = time.monotonic()
        images = self._prompt.images
        result = Result(
            finish_reason=reason,
            prompt_token_count=self._text_count,
            completion_token_count=len(self._tokens),
            source_visual_token_count=sum(image.source_token_count for image in images),
            merged_visual_token_count=self._prompt.length - self._text_count,
            layer_visual_token_counts=self._layer_counts,
            cache_byte_count=sum(cache.byte_count for cache in self.caches),
            prefill_seconds=self._first_token_at - self.began_at,
            decode_seconds=now - self._first_token_at,
            pruning_left_out=self._pruning_left_out,
        )
        self.close()
        return Event(text, result)
