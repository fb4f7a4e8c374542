"""Answers of the engine's thread as async streams of an event loop."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from decoder_service.metrics import Workload
from luvc_core.engine.engine_thread import EngineThread
from luvc_core.engine.generation import Generation
from luvc_core.engine.requests import Event
from luvc_core.engine.scheduler import Limits, Outcome


class EngineBridge:
    """Streams the answers of one engine thread. Made and used on one event loop."""

    def __init__(self, limits: Limits, cores: int, text_interval: float) -> None:
        """Start the engine thread.

        Args:
            limits: what its scheduler may use.
            cores: how many CPU cores the model may use.
            text_interval: least time between two pieces of an answer, in seconds. A short piece
                costs Ray's proxies and the encoder as much as a long one, and nobody reads so
                fast.
        """
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mailboxes: dict[Generation, _Mailbox] = {}
        self._text_interval = text_interval
        self._engine_thread = EngineThread(limits, cores, self._report)

    @property
    def alive(self) -> bool:
        """Whether the engine's thread still works."""
        return self._engine_thread.alive

    @property
    def workload(self) -> Workload:
        """The work of the engine now. Any thread may ask."""
        engine_thread = self._engine_thread
        kv_usage = engine_thread.kv_bytes_used / engine_thread.kv_bytes
        return Workload(engine_thread.running_count, engine_thread.waiting_count, kv_usage)

    async def stream(self, generation: Generation, whole: bool = False) -> AsyncGenerator[Event]:
        """Work on an answer and stream its text until its result.

        The first text comes at once, and so does the end. A slow reader finds several texts joined
        to one. Closing the stream early ends the generation within a step. Raises what ended it.

        whole: all text comes with the result; before it comes an empty text, as soon as there is a
        token.
        """
        self._loop = asyncio.get_running_loop()
        mailbox = self._mailboxes[generation] = _Mailbox()
        self._engine_thread.submit(generation)
        not_before = math.inf if whole else 0.0
        try:
            if whole:
                await mailbox.filled()
                yield Event("")
            while True:
                event = await mailbox.take(not_before)
                if event.text:
                    not_before = time.monotonic() + self._text_interval
                yield event
                if event.result:
                    return
        finally:
            del self._mailboxes[generation]
            self._engine_thread.cancel(generation)

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        """Wake the loop from the engine's thread: once a step, not once a request."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, outcomes)

    def _hand_out(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if mailbox := self._mailboxes.get(outcome.generation):
                mailbox.put(outcome)


class _Mailbox:
    """Holds one event, to which later ones are joined, so that no queue can grow."""

    def __init__(self) -> None:
        self._filled = asyncio.Event()
        self._ended = asyncio.Event()
        self._event: Event | None = None
        self._error: Exception | None = None

    def put(self, outcome: Outcome) -> None:
        self._error = outcome.error
        if outcome.event:
            before = self._event.text if self._event else ""
            self._event = Event(before + outcome.event.text, outcome.event.result)
        self._filled.set()
        if self._error or (self._event and self._event.result):
            self._ended.set()

    async def filled(self) -> None:
        """Wait until there is an event or an error."""
        await self._filled.wait()

    async def take(self, not_before: float) -> Event:
        """Take out the event, once there is one; raise the error that ended the answer.

        not_before: wait until this moment of the monotonic clock, unless the answer has ended.
        """
        await self._filled.wait()
        wait = None if math.isinf(not_before) else not_before - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._ended.wait()
        self._filled.clear()
        if self._error:
            raise self._error
        event, self._event = self._event, None
        assert event
        return event
