"""Answers, one token at a time, so that whoever schedules may interleave requests."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from luvc_core.algorithms.ragged import LayerCache
from luvc_core.algorithms.schedules import layer_average
from luvc_core.chat import Message, Sampling, check_conversation
from luvc_core.config import SpuSettings
from luvc_core.engine.decode import decode_step
from luvc_core.engine.detokenize import Detokenizer
from luvc_core.engine.prefill import prefill, pruner_for
from luvc_core.engine.pruning import Pruner
from luvc_core.engine.sampling import Sampler
from luvc_core.errors import PromptTooLong
from luvc_core.models.base import LanguageHalf, Prompt
from luvc_core.tokens import VisionTokens, check_identity

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Request:
    """A conversation to continue. spu: pruning in the LLM, None for none, or a pruner for this
    request alone in the place of SPU."""

    messages: tuple[Message[VisionTokens], ...]
    sampling: Sampling = field(default_factory=Sampling)
    spu: SpuSettings | Pruner | None = None


@dataclass(frozen=True)
class Result:
    """Accounts of a finished answer. Names and meaning as in luvc.v1.Usage.

    completion_token_count: without the token that ended the answer. cache_byte_count: keys and
    values of all layers at the end, when they are the most.
    """

    finish_reason: FinishReason
    prompt_token_count: int
    completion_token_count: int
    source_visual_token_count: int
    merged_visual_token_count: int
    layer_visual_token_counts: tuple[int, ...]
    cache_byte_count: int
    prefill_seconds: float
    decode_seconds: float

    @property
    def layer_averaged_visual_token_count(self) -> float:
        return layer_average(self.layer_visual_token_counts)


@dataclass(frozen=True)
class Event:
    """What one step brought: certain text, perhaps empty; the result with the last one."""

    text: str
    result: Result | None = None


class Engine:
    """Starts answers. Keeps nothing of any request."""

    def __init__(self, language: LanguageHalf) -> None:
        self.language = language

    def start(self, request: Request, check: Callable[[], None] = lambda: None) -> "Session":
        """Check and tokenise a request; nothing is computed yet.

        check: called between layers of the prefill and before every step; what it raises ends the
        answer. Raises InvalidInput, PromptTooLong or IdentityMismatch.
        """
        check_conversation(request.messages)
        prompt = self.language.tokenize(request.messages)
        for picture in prompt.pictures:
            check_identity(picture.identity, self.language.identity)
        longest = self.language.context_length - 1
        if prompt.length > longest:
            raise PromptTooLong(prompt.length, longest)
        return Session(self.language, request, prompt, check)


class Session:
    """One answer on its way. Not to be stepped by two threads at once."""

    def __init__(
        self,
        language: LanguageHalf,
        request: Request,
        prompt: Prompt,
        check: Callable[[], None],
    ) -> None:
        # Found here, a schedule for another depth is refused before anything is computed.
        self._pruner = pruner_for(request.spu, prompt.pictures, language.layer_count)
        self._language = language
        self._prompt = prompt
        self._check = check
        self._sampler = Sampler(request.sampling)
        self._text = Detokenizer(language.text_of, request.sampling.stop)
        self._most = min(request.sampling.max_tokens, language.context_length - prompt.length)
        self._caches: list[LayerCache] = []
        self._layer_counts: tuple[int, ...] = ()
        self._tokens: list[int] = []
        self._prefill_seconds = 0.0
        self._first_token_at = 0.0
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def tokens(self) -> tuple[int, ...]:
        """Those of the answer so far, without the one that ended it."""
        return tuple(self._tokens)

    @torch.inference_mode()
    def step(self) -> Event | None:
        """Compute one token; the first step computes the prompt too. None after the end.

        If it raises, the answer has ended.
        """
        if self._ended:
            return None
        try:
            self._check()
            begun = time.perf_counter()
            token = self._sampler.draw(self._next_logits())
            if not self._tokens:
                self._first_token_at = time.perf_counter()
                self._prefill_seconds = self._first_token_at - begun
            return self._take(token)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the answer and let its memory go. Harmless when it has ended."""
        self._ended = True
        self._caches = []

    def _next_logits(self) -> Tensor:
        """float32 [vocabulary]"""
        if self._tokens:
            axes = self._prompt.positions.shape[1]
            next_one = self._prompt.next_position + len(self._tokens) - 1
            position = torch.full((1, axes), next_one)
            return decode_step(self._language, self._tokens[-1], position, self._caches)
        logits, self._caches = prefill(self._language, self._prompt, self._pruner, self._check)
        text = self._prompt.length - sum(p.token_count for p in self._prompt.pictures)
        self._layer_counts = tuple(cache.length - text for cache in self._caches)
        return logits

    def _take(self, token: int) -> Event:
        """Turn a token into text, and see whether it ends the answer."""
        if token in self._language.stop_ids:
            return self._end(self._text.finish(), "stop")
        self._tokens.append(token)
        text = self._text.push(token)
        if self._text.stopped:
            return self._end(text, "stop")
        if len(self._tokens) == self._most:
            text += self._text.finish()
            return self._end(text, "stop" if self._text.stopped else "length")
        return Event(text)

    def _end(self, text: str, reason: FinishReason) -> Event:
        pictures = self._prompt.pictures
        merged = sum(picture.token_count for picture in pictures)
        result = Result(
            finish_reason=reason,
            prompt_token_count=self._prompt.length - merged,
            completion_token_count=len(self._tokens),
            source_visual_token_count=sum(p.source_token_count for p in pictures),
            merged_visual_token_count=merged,
            layer_visual_token_counts=self._layer_counts,
            cache_byte_count=sum(cache.byte_count for cache in self._caches),
            prefill_seconds=self._prefill_seconds,
            decode_seconds=time.perf_counter() - self._first_token_at,
        )
        self.close()
        return Event(text, result)
