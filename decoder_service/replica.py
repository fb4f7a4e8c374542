"""One replica: the calls of luvc.v1.DecoderService."""

import logging
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial

import grpc
from luvc.local_stack.cpu_cores import core_count
from luvc.v1 import decoder_pb2, usage_pb2
from luvc.wire import traces
from luvc.wire.traces import Span
from ray.serve.grpc_util import RayServegRPCContext

from decoder_service import autoscaling
from decoder_service.config import DecoderConfig
from decoder_service.engine_bridge import EngineBridge
from decoder_service.errors import refuse
from decoder_service.health import SERVICE, Health
from decoder_service.metrics import Metrics, Workload, sample_for_ever
from decoder_service.token_fetcher import TokenFetcher
from decoder_service.trace_stages import note_stages
from luvc_core.engine.generation import Generation
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request, Result
from luvc_core.engine.scheduler import Limits
from luvc_core.models.registry import load_language
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.cancellation import Cancellation
from luvc_core.runtime.cpu_threads import compute_on
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.log_format import log_extra, request_id_of, set_up
from luvc_core.runtime.offload import run_on
from luvc_core.runtime.request_timeline import RequestTimeline
from luvc_core.wire.generate import FINISH_REASONS, read_decoder_request, read_timeout, write_usage
from luvc_core.wire.identity import write_identity
from luvc_core.wire.vision_tokens import TOKEN_CODECS

log = logging.getLogger(__name__)

Response = decoder_pb2.DecoderServiceGenerateResponse


class DecoderReplica(Health):
    """Serves one language model.

    All model work happens on the engine's thread, which works on all answers at once. The event
    loop never waits for it. Requests are read and tokenised on two other
    threads.
    """

    def __init__(self, config: DecoderConfig) -> None:
        set_up(config.log_level, config.log_format, "%(levelname)s %(message)s")
        traces.set_up("luvc-decoder")
        self._config = config
        compute_on(1)
        self._request_threads = ThreadPoolExecutor(2, "requests", compute_on, (1,))
        self._limiter = AdmissionLimiter(config.max_active, config.max_waiting)
        self._backlog = autoscaling.Backlog()
        self._processor = _load_processor(config)
        cores = config.torch_threads or max(1, core_count() // config.replica_limit)
        self._bridge = EngineBridge(
            Limits(config.kv_bytes, config.prefill_rows), cores, config.text_interval
        )
        self._fetcher = TokenFetcher(
            config, self._processor.language.identity, self._request_threads
        )
        self._metrics = Metrics()
        sample_for_ever(self._metrics, self._workload)
        log.info("the replica is ready: %s", self._processor.language.identity)

    def _workload(self) -> Workload:
        workload = self._bridge.workload
        return replace(workload, waiting=workload.waiting + self._limiter.waiting)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Report figures to the autoscaling policy. Called by Ray."""
        return {
            autoscaling.QUEUED: self._backlog.token_count,
            autoscaling.KV: self._bridge.workload.kv_usage,
        }

    def __del__(self) -> None:
        # Ray calls this before it kills a replica that it takes down.
        traces.flush()

    def check_health(self) -> None:
        """Raise RuntimeError where this replica has to be replaced. Called by Ray."""
        if not self._bridge.alive:
            raise RuntimeError("the engine's thread has ended")

    async def Generate(
        self, request: decoder_pb2.DecoderServiceGenerateRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[Response]:
        """Answer a conversation, piece by piece."""
        request_id = request_id_of(request.request_id)
        code = grpc.StatusCode.CANCELLED
        span = traces.span(f"{SERVICE}/Generate", "server", grpc_context.invocation_metadata())
        span.set_attributes(luvc__request_id=request_id)
        try:
            async with aclosing(self._answer(request, request_id, span)) as responses:
                async for response in responses:
                    yield response
            code = grpc.StatusCode.OK
        except Exception as error:
            code = refuse(grpc_context, error, request_id)
            yield Response()
        finally:
            self._metrics.record_end(code.name)
            span.end_call(code.name)

    async def GetModelInfo(
        self, request: decoder_pb2.GetModelInfoRequest
    ) -> decoder_pb2.GetModelInfoResponse:
        """Tell which model is served, and in which forms it takes visual tokens."""
        model = self._processor.language
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
        """Read a request, wait for its turn, start a generation and stream its text."""
        timeline = RequestTimeline()
        deadline = Deadline.after(self._config.timeout, read_timeout(request))
        engine_request = await self._read(request, timeline, deadline, span)
        async with AsyncExitStack() as stack:
            in_backlog = stack.enter_context(self._backlog.entry(engine_request.visual_token_count))
            await stack.enter_async_context(self._limiter.slot(deadline))
            # When the caller leaves, a prefill that is under way ends at its next layer.
            cancellation = stack.enter_context(Cancellation())
            check = partial(cancellation.check, deadline)
            generation = await deadline.wait_for(
                run_on(self._request_threads, self._processor.start, engine_request, check)
            )
            outcome = "left"
            try:
                stream = self._stream(generation, request.whole_answer, timeline, deadline, span)
                async with aclosing(stream) as responses:
                    async for response in responses:
                        in_backlog.remove()
                        yield response
                outcome = "answered"
            finally:
                log.info(
                    "request %s %s after %d tokens",
                    request_id,
                    outcome,
                    len(generation.tokens),
                    extra=log_extra(request_id),
                )

    async def _read(
        self,
        request: decoder_pb2.DecoderServiceGenerateRequest,
        timeline: RequestTimeline,
        deadline: Deadline,
        span: Span,
    ) -> Request:
        """Fetch the visual tokens that a request refers to, and check all of it."""
        fetched = await self._fetcher.fetch(request.vision_tokens, deadline, span)
        if fetched:
            self._metrics.record_fetch(timeline.elapsed)
        model = self._processor.language
        max_tokens = model.context_length - 1
        return await deadline.wait_for(
            run_on(
                self._request_threads,
                read_decoder_request,
                request,
                model.identity,
                fetched,
                max_tokens,
            )
        )

    async def _stream(
        self,
        generation: Generation,
        whole: bool,
        timeline: RequestTimeline,
        deadline: Deadline,
        span: Span,
    ) -> AsyncGenerator[Response]:
        """Stream the text of a generation, with its usage at the end."""
        async with aclosing(self._bridge.stream(generation, whole)) as events:
            while True:
                event = await deadline.wait_for(anext(events))
                if not event.text and not event.result:
                    if whole:
                        # Tells the encoder that the answer has begun, as a first text does.
                        yield Response()
                    continue
                gap = timeline.add_piece(has_text=bool(event.text))
                if gap is not None:
                    self._metrics.record_gap(gap)
                if not event.result:
                    yield Response(text=event.text)
                    continue
                usage = _usage(generation, event.result, timeline)
                self._metrics.record_answer(usage)
                note_stages(span, generation, event.result, timeline.arrival)
                yield Response(
                    text=event.text,
                    finish_reason=FINISH_REASONS[event.result.finish_reason],
                    usage=usage,
                )
                return


def _usage(generation: Generation, result: Result, timeline: RequestTimeline) -> usage_pb2.Usage:
    """Return the usage of an answer whose last piece has just come."""
    arrival, end = timeline.arrival, timeline.last_piece
    queue_seconds = generation.began_at - arrival
    first_text_seconds = (generation.first_text_at or end) - arrival
    return write_usage(result, queue_seconds, first_text_seconds, end - arrival)


def _load_processor(config: DecoderConfig) -> RequestProcessor:
    """Load the weights of the language half."""
    language = load_language(config.model, config.device, config.dtype)
    return RequestProcessor(language, auto_pruning=config.pruning == "auto")
