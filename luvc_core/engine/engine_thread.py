"""A thread that computes all answers, so that the thread that serves them never waits."""

import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from luvc_core.engine.generation import Generation
from luvc_core.engine.scheduler import Limits, Outcome, Scheduler
from luvc_core.errors import ServiceError
from luvc_core.runtime.cpu_threads import compute_on

log = logging.getLogger(__name__)


class EngineThread:
    """Runs a scheduler's steps while there is work. Its methods may be called by any thread."""

    def __init__(
        self, limits: Limits, cores: int, report: Callable[[Sequence[Outcome]], None]
    ) -> None:
        """Start the thread.

        Args:
            limits: what the scheduler may use.
            cores: how many CPU cores the model may use.
            report: called on this thread with what each step brought. Nothing more is reported of
                an answer that was cancelled.
        """
        self._cores = cores
        self._scheduler = Scheduler(limits)
        self._report = report
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs. Only a bug ends it before `stop`."""
        return self._thread.is_alive()

    @property
    def kv_bytes_used(self) -> int:
        """Bytes of keys and values that requests have reserved."""
        return self._scheduler.kv_budget.used

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values that requests can reserve."""
        return self._scheduler.kv_budget.byte_count

    @property
    def running_count(self) -> int:
        """Requests that have reserved KV budget."""
        return self._scheduler.in_flight_count

    @property
    def waiting_count(self) -> int:
        """Requests that the scheduler has not admitted yet."""
        return self._scheduler.waiting_count

    def submit(self, generation: Generation) -> None:
        """Queue an answer. If it can never fit, an outcome with the error is reported."""

        def call() -> None:
            try:
                self._scheduler.submit(generation)
            except ServiceError as error:
                self._report([Outcome(generation, error=error)])

        self._calls.put(call)

    def cancel(self, generation: Generation) -> None:
        """End an answer before the next step. Harmless when it has ended."""
        self._calls.put(lambda: self._scheduler.cancel(generation))

    def stop(self) -> None:
        """End the thread after the step under way; answers not yet given are dropped."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                while self._scheduler.idle or not self._calls.empty():
                    if self._calls.empty():
                        log.debug("idle: no request holds keys and values")
                    call = self._calls.get()
                    if call is None:
                        return
                    call()
                # At each step, as some libraries keep one number for all threads, which others set.
                compute_on(self._cores)
                if outcomes := self._scheduler.step():
                    self._report(outcomes)
        except Exception:
            log.exception("the engine has stopped")
            raise
