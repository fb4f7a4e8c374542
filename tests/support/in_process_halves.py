"""Run both halves in this process, over real gRPC: the decoder's replica without Ray around it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from luvc.v1 import decoder_pb2, decoder_pb2_grpc, encoder_pb2_grpc

from decoder_service.config import DecoderConfig
from decoder_service.replica import DecoderReplica
from encoder_service.config import EncoderConfig
from encoder_service.server import profiles_from, running
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.base import VisionHalf


class _Replica(decoder_pb2_grpc.DecoderServiceServicer):
    """Calls the deployment's methods as Ray's proxy does, with fewer arguments than gRPC.

    Attributes:
        requests: what it was asked.
        flowing: while it is clear, answers stop after their next piece.
    """

    def __init__(self, decoder: DecoderReplica) -> None:
        self._decoder = decoder
        self.requests: list[decoder_pb2.DecoderServiceGenerateRequest] = []
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        async with aclosing(self._decoder.Generate(request, context)) as responses:
            async for response in responses:
                yield response
                await self.flowing.wait()

    async def GetModelInfo(self, request: Any, context: Any) -> Any:
        return await self._decoder.GetModelInfo(request)


@asynccontextmanager
async def decoder(checkpoint: Path, **settings: Any) -> AsyncIterator[tuple[str, _Replica]]:
    """Run a replica; yield its endpoint, and the replica, which remembers what it was asked."""
    # The images of tests are too small for pruning to pay.
    settings = {"pruning": "always", **settings}
    config = DecoderConfig(
        model=str(checkpoint), device="cpu", dtype="float32", torch_threads=1, **settings
    )
    replica = _Replica(DecoderReplica(config))
    server = grpc.aio.server()
    decoder_pb2_grpc.add_DecoderServiceServicer_to_server(replica, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", replica
    finally:
        await server.stop(None)


@asynccontextmanager
async def encoder(
    vision: VisionHalf, decoder: str, **settings: Any
) -> AsyncIterator[tuple[str, encoder_pb2_grpc.EncoderServiceStub]]:
    """Run an encoder; yield its endpoint, and a way to talk to it.

    Args:
        vision: the half that it encodes with.
        decoder: HOST:PORT.
        settings: fields of EncoderConfig.
    """
    config = EncoderConfig(**{"port": 0, "grace": 1.0, "decoder": decoder} | settings)
    async with (
        running(MediaEncoder(vision), profiles_from(config), config) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield f"127.0.0.1:{port}", encoder_pb2_grpc.EncoderServiceStub(channel)


async def pieces_of(call: Any) -> list[Any]:
    """Collect all messages of a stream."""
    return [piece async for piece in call]
