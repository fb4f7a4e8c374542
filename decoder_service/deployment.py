"""One replica: the calls of luvc.v1.DecoderService and of grpc.health.v1.Health."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

import grpc
import torch
from grpc_health.v1 import health_pb2
from luvc.v1 import decoder_pb2
from ray.serve.grpc_util import RayServegRPCContext

from decoder_service import codec
from decoder_service.config import DecoderConfig
from decoder_service.errors import refuse
from decoder_service.fetch import Fetcher
from decoder_service.metrics import Load, Metrics, sample_for_ever
from decoder_service.streams import Streams
from luvc_core.deadline import Deadline
from luvc_core.engine.engine import Engine, Session
from luvc_core.engine.scheduler import Limits
from luvc_core.logs import of_request, request_id_of, set_up
from luvc_core.models.registry import load_language
from luvc_core.slots import Slots

T = TypeVar("T")
log = logging.getLogger(__name__)

SERVICE: str = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name
Response = decoder_pb2.DecoderServiceGenerateResponse


class Decoder:
    """Serves one language model. All model work happens on one thread, the engine's, which works on
    all answers at once; the event loop never waits for it.
    """

    def __init__(self, config: DecoderConfig) -> None:
        set_up(config.log_level, config.log_format, "%(levelname)s %(message)s")
        self._config = config
        self._edge_threads = ThreadPoolExecutor(2, "edge")
        self._slots = Slots(config.max_active, config.max_waiting)
        self._engine = _load(config)
        self._streams = Streams(Limits(config.kv_bytes, config.prefill_rows))
        self._fetcher = Fetcher(config, self._engine.language.identity, self._edge_threads)
        self._metrics = Metrics()
        sample_for_ever(self._metrics, self._load)
        log.info("the replica is ready: %s", self._engine.language.identity)

    def _load(self) -> Load:
        load = self._streams.load
        return replace(load, waiting=load.waiting + self._slots.waiting)

    def check_health(self) -> None:
        """Called by Ray, which replaces a replica where this raises."""
        if not self._streams.alive:
            raise RuntimeError("the engine's thread has ended")

    async def Generate(
        self, request: decoder_pb2.DecoderServiceGenerateRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[Response]:
        request_id = request_id_of(request.request_id)
        code = grpc.StatusCode.CANCELLED
        try:
            async with aclosing(self._answer(request, request_id)) as responses:
                async for response in responses:
                    yield response
            code = grpc.StatusCode.OK
        except Exception as error:
            code = refuse(grpc_context, error, request_id)
            yield Response()
        finally:
            self._metrics.ended(code.name)

    async def GetModelInfo(
        self, request: decoder_pb2.GetModelInfoRequest
    ) -> decoder_pb2.GetModelInfoResponse:
        model = self._engine.language
        return decoder_pb2.GetModelInfoResponse(
            identity=codec.identity_to(model.identity),
            layer_count=model.layer_count,
            context_length=model.context_length,
            token_sources=self._fetcher.sources,
            token_codecs=codec.TOKEN_CODECS,
        )

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in ("", SERVICE):
            grpc_context.set_code(grpc.StatusCode.NOT_FOUND)
            grpc_context.set_details("unknown service")
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def List(self, request: Any) -> Any:
        serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        return health_pb2.HealthListResponse(statuses={"": serving, SERVICE: serving})

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse]:
        # A watch would hold one of the replica's places, and a draining replica, for ever. The
        # protocol lets a server do without.
        grpc_context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        grpc_context.set_details("use Check")
        yield health_pb2.HealthCheckResponse()

    async def _answer(
        self, request: decoder_pb2.DecoderServiceGenerateRequest, request_id: str
    ) -> AsyncGenerator[Response]:
        arrival = time.monotonic()
        deadline = Deadline.after(self._config.timeout, codec.timeout_from(request))
        fetched = await self._fetcher.fetch(request.vision_tokens, deadline)
        if fetched:
            self._metrics.fetched(time.monotonic() - arrival)
        served = self._engine.language.identity
        question = await deadline.wait_for(
            _run(self._edge_threads, codec.question_from, request, served, fetched)
        )
        given_up = threading.Event()

        def check() -> None:
            deadline.check()
            if given_up.is_set():
                raise _GivenUp

        async with self._slots.take(deadline):
            session = await deadline.wait_for(
                _run(self._edge_threads, self._engine.start, question, check)
            )
            how = "left"
            try:
                async with aclosing(self._generate(session, arrival, deadline)) as responses:
                    async for response in responses:
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
        self, session: Session, arrival: float, deadline: Deadline
    ) -> AsyncGenerator[Response]:
        first_text, last = 0.0, 0.0
        async with aclosing(self._streams.stream(session)) as events:
            while True:
                event = await deadline.wait_for(anext(events))
                if not event.text and not event.result:
                    continue
                now = time.monotonic()
                first_text = first_text or now - arrival
                if last and event.text:
                    self._metrics.gap(now - last)
                last = now
                if not event.result:
                    yield Response(text=event.text)
                    continue
                total = time.monotonic() - arrival
                queued = session.began_at - arrival
                usage = codec.usage_to(event.result, queued, first_text, total)
                self._metrics.answered(usage)
                yield Response(
                    text=event.text,
                    finish_reason=codec.FINISH_REASONS[event.result.finish_reason],
                    usage=usage,
                )
                return


class _GivenUp(Exception):
    """Nobody waits for the answer any more."""


def _load(config: DecoderConfig) -> Engine:
    threads = config.torch_threads or (os.cpu_count() or 1) // config.most_replicas
    # Ray sets OMP_NUM_THREADS to the CPUs that it reserves, which torch would obey.
    torch.set_num_threads(max(1, threads))
    return Engine(load_language(config.model, config.device, config.dtype))


def _run(
    pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object
) -> "asyncio.Future[T]":
    return asyncio.get_running_loop().run_in_executor(pool, work, *arguments)
