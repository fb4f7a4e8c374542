"""Which work comes next: continuous batching within a bound of keys and values.

A step goes: one token of every running answer in one batch, then waiting requests are let in, then
layers of prefills, up to a budget. So an answer that runs gets a token with every step, however
long the pictures are that others came with, and a step is never longer than its budget and the one
layer that goes past it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from luvc_core.engine.batch import decode_together
from luvc_core.engine.generation import Generation
from luvc_core.engine.requests import Event
from luvc_core.errors import InvalidInput
from luvc_core.kv_cache.budget import KvBudget

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """kv_bytes: of keys and values of all requests at once. prefill_rows: tokens that may enter
    layers within a step, each layer counted; at least one layer is computed."""

    kv_bytes: int = 4096 * MIB
    prefill_rows: int = 8192


@dataclass(frozen=True)
class Outcome:
    """What a step brought one answer: an event, or what ended it."""

    session: Generation
    event: Event | None = None
    error: Exception | None = None


class Scheduler:
    """Sessions of one language half, worked on together. For one thread.

    A session that any step or `cancel` ends holds no memory and no place afterwards.
    """

    def __init__(self, limits: Limits) -> None:
        self.pool = KvBudget(limits.kv_bytes)
        self._prefill_rows = limits.prefill_rows
        self._waiting: deque[Generation] = deque()
        self._prefilling: list[Generation] = []
        self._running: list[Generation] = []
        # Rows that the oldest prefill had more than the shortest ones.
        self._ahead = 0

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return not (self._waiting or self._prefilling or self._running)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @property
    def in_flight_count(self) -> int:
        """Requests that hold room for keys and values."""
        return len(self._prefilling) + len(self._running)

    def submit(self, session: Generation) -> None:
        """Let a session wait for its turn: first come, first served.

        Raises InvalidInput where it needs more room than there is in all.
        """
        needed, room = session.kv_byte_count, self.pool.byte_count
        if needed > room:
            problem = f"prompt and answer need {needed / MIB:.1f} MiB of keys and values"
            raise InvalidInput("messages", problem, f"at most {room / MIB:.1f} MiB")
        self._waiting.append(session)

    def cancel(self, session: Generation) -> None:
        """End a session at once. Harmless when it has ended."""
        if session in self._waiting:
            self._waiting.remove(session)
            session.close()
        elif session in self._prefilling or session in self._running:
            self._leave(session)

    def step(self) -> list[Outcome]:
        """Do the next work. Never raises what concerns single requests: outcomes tell."""
        outcomes = self._decode()
        while self._waiting and self.pool.reserve(self._waiting[0].kv_byte_count):
            self._prefilling.append(self._waiting.popleft())
        return outcomes + self._prefill()

    def _decode(self) -> list[Outcome]:
        outcomes = [
            outcome
            for session in list(self._running)
            if (outcome := self._attempt(session, session.check)).error
        ]
        sessions = list(self._running)
        if not sessions:
            return outcomes
        try:
            logits = decode_together(sessions)
        except Exception as error:
            return outcomes + [self._failed(session, error) for session in sessions]
        return outcomes + [
            self._attempt(session, partial(session.take, row))
            for session, row in zip(sessions, logits, strict=True)
        ]

    def _prefill(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        rows = 0
        while self._prefilling and rows < self._prefill_rows:
            session = self._next_prefill()
            rows += _next_rows(session)
            outcome = self._attempt(session, session.prefill_layer)
            if outcome.event or outcome.error:
                outcomes.append(outcome)
            if outcome.event and not session.ended:
                self._prefilling.remove(session)
                self._running.append(session)
        return outcomes

    def _next_prefill(self) -> Generation:
        """Half of the work goes to the oldest, half to the one with the least left to do: short
        prompts overtake long ones, and no long one waits for ever."""
        oldest, shortest = self._prefilling[0], min(self._prefilling, key=_rows_left)
        if oldest is shortest:
            return oldest
        chosen, sign = (shortest, -1) if self._ahead > 0 else (oldest, 1)
        self._ahead += sign * _next_rows(chosen)
        return chosen

    def _attempt(self, session: Generation, work: Callable[[], Event | None]) -> Outcome:
        """What the work brings; a session that it ends gives its place back."""
        try:
            outcome = Outcome(session, work())
        except Exception as error:
            return self._failed(session, error)
        if session.ended:
            self._leave(session)
        return outcome

    def _failed(self, session: Generation, error: Exception) -> Outcome:
        self._leave(session)
        return Outcome(session, error=error)

    def _leave(self, session: Generation) -> None:
        group = self._running if session in self._running else self._prefilling
        group.remove(session)
        session.close()
        self.pool.release(session.kv_byte_count)


def _rows_left(session: Generation) -> int:
    return session.prefill.remaining_rows if session.prefill else 0


def _next_rows(session: Generation) -> int:
    return session.prefill.next_rows if session.prefill else 0
