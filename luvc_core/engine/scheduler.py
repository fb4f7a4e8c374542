"""Continuous batching of several answers within a bounded number of bytes of KV cache.

A step computes one token of every answer that is decoding, in one batch; then it admits waiting
requests, and then computes layers of prefills, up to a budget. So an answer that is decoding gets a
token with every step, however large the images of others are, and a step is never longer than its
budget and the one layer that goes past it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from luvc_core.engine.decode import decode_generations
from luvc_core.engine.generation import Generation, GenerationStatus
from luvc_core.engine.requests import Event
from luvc_core.errors import InvalidInput
from luvc_core.kv_cache.budget import KvBudget

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """The resources that a scheduler may use.

    Attributes:
        kv_bytes: keys and values of all requests at once.
        prefill_rows: tokens that may enter layers of prefills within a step, each layer counted; at
            least one layer is computed.
    """

    kv_bytes: int = 4096 * MIB
    prefill_rows: int = 8192


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step for one answer: an event, or the error that ended it."""

    generation: Generation
    event: Event | None = None
    error: Exception | None = None


class Scheduler:
    """Answers of one language half, computed together. For one thread.

    An answer that a step or `cancel` ends holds no memory and no KV budget afterwards.

    Attributes:
        kv_budget: bytes of keys and values that requests have reserved.
    """

    def __init__(self, limits: Limits) -> None:
        self.kv_budget = KvBudget(limits.kv_bytes)
        self._prefill_rows = limits.prefill_rows
        self._waiting: deque[Generation] = deque()
        self._prefilling: list[Generation] = []
        self._decoding: list[Generation] = []
        # Rows computed for the oldest prefill minus those computed for shorter ones.
        self._oldest_lead = 0

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return not (self._waiting or self._prefilling or self._decoding)

    @property
    def waiting_count(self) -> int:
        """Requests that are not admitted yet."""
        return len(self._waiting)

    @property
    def in_flight_count(self) -> int:
        """Requests that have reserved KV budget."""
        return len(self._prefilling) + len(self._decoding)

    def submit(self, generation: Generation) -> None:
        """Queue an answer: first come, first served.

        Raises InvalidInput where it needs more KV budget than there is in all.
        """
        needed, available = generation.kv_byte_count, self.kv_budget.byte_count
        if needed > available:
            problem = f"prompt and answer need {needed / MIB:.1f} MiB of keys and values"
            raise InvalidInput("messages", problem, f"at most {available / MIB:.1f} MiB")
        self._waiting.append(generation)

    def cancel(self, generation: Generation) -> None:
        """End an answer at once. Harmless when it has ended."""
        if generation in self._waiting:
            self._waiting.remove(generation)
            generation.close()
        elif generation in self._prefilling or generation in self._decoding:
            self._release(generation)

    def step(self) -> list[Outcome]:
        """Do the next work and return what it brought.

        Never raises an error of a single request: its outcome holds it.
        """
        outcomes = self._decode()
        while self._waiting and self.kv_budget.reserve(self._waiting[0].kv_byte_count):
            self._prefilling.append(self._waiting.popleft())
        return outcomes + self._prefill()

    def _decode(self) -> list[Outcome]:
        outcomes = [
            outcome
            for generation in list(self._decoding)
            if (outcome := self._attempt(generation, generation.check)).error
        ]
        generations = list(self._decoding)
        if not generations:
            return outcomes
        try:
            logits = decode_generations(generations)
        except Exception as error:
            return outcomes + [self._fail(generation, error) for generation in generations]
        return outcomes + [
            self._attempt(generation, partial(generation.sample_next, row))
            for generation, row in zip(generations, logits, strict=True)
        ]

    def _prefill(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        rows = 0
        while self._prefilling and rows < self._prefill_rows:
            generation = self._next_prefill()
            rows += generation.next_prefill_rows
            outcome = self._attempt(generation, generation.prefill_layer)
            if outcome.event or outcome.error:
                outcomes.append(outcome)
            if outcome.event and generation.status is GenerationStatus.DECODE:
                self._prefilling.remove(generation)
                self._decoding.append(generation)
        return outcomes

    def _next_prefill(self) -> Generation:
        """Choose whose layer is computed next.

        Half of the work goes to the oldest, half to the one with the fewest rows to compute: short
        prompts overtake long ones, and no long one waits for ever.
        """
        oldest = self._prefilling[0]
        shortest = min(self._prefilling, key=lambda g: g.remaining_prefill_rows)
        if oldest is shortest:
            return oldest
        chosen, sign = (shortest, -1) if self._oldest_lead > 0 else (oldest, 1)
        self._oldest_lead += sign * chosen.next_prefill_rows
        return chosen

    def _attempt(self, generation: Generation, work: Callable[[], Event | None]) -> Outcome:
        """Do some work on an answer; if that ends it, release what it holds."""
        try:
            outcome = Outcome(generation, work())
        except Exception as error:
            return self._fail(generation, error)
        if generation.status is GenerationStatus.FINISHED:
            self._release(generation)
        return outcome

    def _fail(self, generation: Generation, error: Exception) -> Outcome:
        self._release(generation)
        return Outcome(generation, error=error)

    def _release(self, generation: Generation) -> None:
        group = self._decoding if generation in self._decoding else self._prefilling
        group.remove(generation)
        generation.close()
        self.kv_budget.release(generation.kv_byte_count)
