"""Answers of the engine's thread, as streams of an event loop."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from decoder_service.metrics import Load
from luvc_core.engine.engine_thread import EngineThread
from luvc_core.engine.request_processor import Event, Generation
from luvc_core.engine.scheduler import Limits, Outcome


class EngineBridge:
    """One engine for all requests of a replica. Made and used on one event loop.

    cores: of the CPU, which the model may use. text_interval: least time between two texts of an
    answer, in seconds. Each costs the proxies and the encoder as much as a long one, and nobody
    reads so fast.
    """

    def __init__(self, limits: Limits, cores: int, text_interval: float) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mailboxes: dict[Generation, _Mailbox] = {}
        self._text_interval = text_interval
        self._worker = EngineThread(limits, cores, self._report)

    @property
    def alive(self) -> bool:
        """Whether the engine can work."""
        return self._worker.alive

    @property
    def load(self) -> Load:
        """What there is to do. Any thread may ask."""
        worker = self._worker
        usage = worker.kv_bytes_used / worker.kv_bytes
        return Load(worker.running_count, worker.waiting_count, usage)

    async def stream(self, session: Generation, whole: bool = False) -> AsyncGenerator[Event]:
        """What the session's steps bring, until its result.

        The first piece comes at once, and so does the end. A slow reader finds several pieces as
        one. whole: all text comes with the result, and before it an empty piece, when there is a
        token. Leaving early ends the session within a step. Raises what ended it.
        """
        self._loop = asyncio.get_running_loop()
        mailbox = self._mailboxes[session] = _Mailbox()
        self._worker.submit(session)
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
            del self._mailboxes[session]
            self._worker.cancel(session)

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        """On the engine's thread: wakes the loop once a step, not once a request."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, outcomes)

    def _hand_out(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if mailbox := self._mailboxes.get(outcome.generation):
                mailbox.put(outcome)


class _Mailbox:
    """Room for one event, to which later ones are added: no queue that could grow."""

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
        """Return when there is something."""
        await self._filled.wait()

    async def take(self, not_before: float) -> Event:
        """All there is, as soon as there is something. not_before: a moment of the monotonic clock,
        which only the end of an answer does not wait for."""
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
