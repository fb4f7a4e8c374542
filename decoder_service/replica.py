"""One replica: the calls of luvc.v1.DecoderService."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TypeVar

import grpc
from luvc.local_stack.cpu_cores import core_count
from luvc.v1 import decoder_pb2
from luvc.wire import traces
from luvc.wire.traces import Span
from ray.serve.grpc_util import RayServegRPCContext

from decoder_service import autoscaling
from decoder_service.config import DecoderConfig
from decoder_service.engine_bridge import EngineBridge
from decoder_service.errors import refuse
from decoder_service.health import SERVICE, Health
from decoder_service.metrics import Load, Metrics, sample_for_ever
from decoder_service.token_fetcher import Fetcher
from decoder_service.trace_stages import tell
from luvc_core.engine.request_processor import Generation, RequestProcessor
from luvc_core.engine.scheduler import Limits
from luvc_core.models.registry import load_language
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.cpu_threads import compute_on
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.log_format import of_request, request_id_of, set_up
from luvc_core.wire.generate import FINISH_REASONS, read_decoder_request, read_timeout, write_usage
from luvc_core.wire.identity import write_identity
from luvc_core.wire.vision_tokens import TOKEN_CODECS

T = TypeVar("T")
log = logging.getLogger(__name__)

Response = decoder_pb2.DecoderServiceGenerateResponse


class DecoderReplica(Health):
    """Serves one language model. All model work happens on one thread, the engine's, which works on
    all answers at once; the event loop never waits for it.
    """

    def __init__(self, config: DecoderConfig) -> None:
        set_up(config.log_level, config.log_format, "%(levelname)s %(message)s")
        traces.set_up("luvc-decoder")
        self._config = config
        compute_on(1)
        self._edge_threads = ThreadPoolExecutor(2, "edge", compute_on, (1,))
        self._slots = AdmissionLimiter(config.max_active, config.max_waiting)
        self._backlog = autoscaling.Backlog()
        self._engine = _load(config)
        cores = config.torch_threads or max(1, core_count() // config.most_replicas)
        self._streams = EngineBridge(
            Limits(config.kv_bytes, config.prefill_rows), cores, config.text_interval
        )
        self._fetcher = Fetcher(config, self._engine.language.identity, self._edge_threads)
        self._metrics = Metrics()
        sample_for_ever(self._metrics, self._load)
        log.info("the replica is ready: %s", self._engine.language.identity)

    def _load(self) -> Load:
        load = self._streams.load
        return replace(load, waiting=load.waiting + self._slots.waiting)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray, for its policy."""
        return {
            autoscaling.QUEUED: self._backlog.token_count,
            autoscaling.KV: self._streams.load.kv_usage,
        }

    def __del__(self) -> None:
        # Ray calls this before it kills a replica that goes.
        traces.flush()

    def check_health(self) -> None:
        """Called by Ray, which replaces a replica where this raises."""
        if not self._streams.alive:
            raise RuntimeError("the engine's thread has ended")

    async def Generate(
        self, request: decoder_pb2.DecoderServiceGenerateRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[Response]:
        request_id = request_id_of(request.request_id)
        code = grpc.StatusCode.CANCELLED
        span = traces.span(f"{SERVICE}/Generate", "server", grpc_context.invocation_metadata())
        span.note(luvc__request_id=request_id)
        try:
            async with aclosing(self._answer(request, request_id, span)) as responses:
                async for response in responses:
                    yield response
            code = grpc.StatusCode.OK
        except Exception as error:
            code = refuse(grpc_context, error, request_id)
            yield Response()
        finally:
            self._metrics.ended(code.name)
            span.end_call(code.name)

    async def GetModelInfo(
        self, request: decoder_pb2.GetModelInfoRequest
    ) -> decoder_pb2.GetModelInfoResponse:
        model = self._engine.language
        return decoder_pb2.GetModelInfoResponse(
            identity=write_identity(model.identity),
            layer_count=model.layer_count,
            context_length=model.context_length,
            token_sources=self._fetcher.sources,
            token_codecs=TOKEN_CODECS,
            takes_sparse_tokens=True,
        )

    async def _answer(
        self, request: decoder_pb2.DecoderServiceGenerateRequest, request_id: str, span: Span
    ) -> AsyncGenerator[Response]:
        arrival = time.monotonic()
        deadline = Deadline.after(self._config.timeout, read_timeout(request))
        fetched = await self._fetcher.fetch(request.vision_tokens, deadline, span)
        if fetched:
            self._metrics.fetched(time.monotonic() - arrival)
        model = self._engine.language
        most = model.context_length - 1
        question = await deadline.wait_for(
            _run(self._edge_threads, read_decoder_request, request, model.identity, fetched, most)
        )
        given_up = threading.Event()

        def check() -> None:
            deadline.check()
            if given_up.is_set():
                raise _GivenUp

        async with AsyncExitStack() as held:
            waits = held.enter_context(self._backlog.entry(question.visual_token_count))
            await held.enter_async_context(self._slots.take(deadline))
            session = await deadline.wait_for(
                _run(self._edge_threads, self._engine.start, question, check)
            )
            how = "left"
            try:
                pieces = self._generate(session, request.whole_answer, arrival, deadline, span)
                async with aclosing(pieces) as responses:
                    async for response in responses:
                        waits.began()
                        yield response
                how = "answered"
            finally:
                # A prefill that is under way ends at its next layer.
                given_up.set()
                count = len(session.tokens)
                log.info(
                    "request %s %s after %d tokens",
                    request_id,
                    how,
                    count,
                    extra=of_request(request_id),
                )

    async def _generate(
        self, session: Generation, whole: bool, arrival: float, deadline: Deadline, span: Span
    ) -> AsyncGenerator[Response]:
        last = 0.0
        async with aclosing(self._streams.stream(session, whole)) as events:
            while True:
                event = await deadline.wait_for(anext(events))
                if not event.text and not event.result:
                    if whole:
                        # Says that it has begun, as a first text does.
                        yield Response()
                    continue
                now = time.monotonic()
                if last and event.text:
                    self._metrics.gap(now - last)
                last = now
                if not event.result:
                    yield Response(text=event.text)
                    continue
                queued, total = session.began_at - arrival, now - arrival
                first_text = (session.first_text_at or now) - arrival
                usage = write_usage(event.result, queued, first_text, total)
                self._metrics.answered(usage)
                tell(span, session, event.result, arrival)
                yield Response(
                    text=event.text,
                    finish_reason=FINISH_REASONS[event.result.finish_reason],
                    usage=usage,
                )
                return


class _GivenUp(Exception):
    """Nobody waits for the answer any more."""


def _load(config: DecoderConfig) -> RequestProcessor:
    language = load_language(config.model, config.device, config.dtype)
    return RequestProcessor(language, auto_pruning=config.pruning == "thrifty")


def _run(
    pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object
) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
