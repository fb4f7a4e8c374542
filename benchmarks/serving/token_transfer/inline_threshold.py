"""Time until a replica holds visual tokens: inline, fetched from the encoder, or from Redis.

The requests ask for no token at all, which a replica refuses once it has read and checked the
visual tokens: what is measured is the transfer alone, through Ray's proxy and all, without a model.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import torch
from luvc.v1 import (
    chat_pb2,
    decoder_pb2,
    decoder_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
    tokens_pb2,
)

from encoder_service.transfer.blob_handles import HeldBlobs
from encoder_service.transfer.token_sender import CHUNK_BYTES
from luvc_core.store.redis import RedisStore
from luvc_core.visual_tokens.blob import checksum_of, to_blob
from luvc_core.visual_tokens.identity import Identity
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, VisionTokens
from luvc_core.wire.identity import read_identity
from luvc_core.wire.vision_tokens import write_vision_tokens

WAYS = ("inline", "encoder", "redis")
KIB = 1 << 10
SIZES = tuple(KIB << shift for shift in range(5, 15))
# Fetching is chosen only where it is better by more than noise.
_MARGIN = 0.97


@dataclass(frozen=True)
class Point:
    """Milliseconds until a replica has read so many bytes of tokens, by one way."""

    way: str
    byte_count: int
    p50_ms: float
    p95_ms: float


async def curve(
    decoder: str, redis_url: str, sizes: Sequence[int] = SIZES, turns: int = 15
) -> list[Point]:
    """Measure all ways for tokens of several sizes.

    Args:
        decoder: the endpoint of one that may fetch from this machine and from that Redis.
        redis_url: of the store.
        sizes: bytes of the tokens.
        turns: of each way and size.
    """
    store = RedisStore(redis_url, max_item_bytes=1 << 30, ttl=600.0, timeout=30.0)
    held_blobs = HeldBlobs(1 << 40)
    points = []
    async with _handing_out(held_blobs) as endpoint, grpc.aio.insecure_channel(decoder) as channel:
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        info = await stub.GetModelInfo(decoder_pb2.GetModelInfoRequest(), timeout=60)
        for size in sizes:
            tokens = noise(read_identity(info.identity), size)
            key = f"bench-{size}"
            blob = await asyncio.to_thread(to_blob, tokens, key)
            await store.put(key, blob)
            with ExitStack() as held:
                message = reference(key, blob)
                from_store = _changed(message, source=tokens_pb2.TOKEN_SOURCE_STORE)
                from_here = _changed(
                    message,
                    source=tokens_pb2.TOKEN_SOURCE_ENCODER,
                    endpoint=endpoint,
                    handle=held.enter_context(held_blobs.hold(blob)),
                )
                ways: dict[str, Callable[[], tokens_pb2.VisionTokens]] = {
                    # Encoding the message is a part of this way; the blob is made for the store.
                    "inline": lambda tokens=tokens: write_vision_tokens(tokens),  # type: ignore[misc]
                    "encoder": lambda message=from_here: message,  # type: ignore[misc]
                    "redis": lambda message=from_store: message,  # type: ignore[misc]
                }
                points += await _measure(stub, size, ways, turns)
    await store.close()
    return points


async def _measure(
    stub: Any, size: int, ways: dict[str, Callable[[], tokens_pb2.VisionTokens]], turns: int
) -> list[Point]:
    """Measure the ways in turn, so that whatever else the machine does meets all of them."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way, make in ways.items():
            start = time.perf_counter()
            await _carry(stub, await asyncio.to_thread(make))
            if turn:  # the first one connects
                took[way].append(1000 * (time.perf_counter() - start))
    return [
        Point(way, size, round(statistics.median(ms), 2), round(_p95(ms), 2))
        for way, ms in took.items()
    ]


async def _carry(stub: Any, tokens: tokens_pb2.VisionTokens) -> None:
    media = chat_pb2.ContentPart(media=chat_pb2.Media())
    parts = [media, chat_pb2.ContentPart(text="?")]
    request = decoder_pb2.DecoderServiceGenerateRequest(
        messages=[chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, parts=parts)],
        vision_tokens=[tokens],
        sampling=chat_pb2.Sampling(max_tokens=0),
    )
    text = "answered"
    try:
        async for _ in stub.Generate(request, timeout=120):
            pass
    except grpc.aio.AioRpcError as error:
        text = f"{error.code().name}: {error.details()}"
    if not text.startswith("INVALID_ARGUMENT: sampling.max_tokens"):
        raise RuntimeError(f"the tokens did not arrive: {text}")


def noise(identity: Identity, byte_count: int) -> VisionTokens:
    """Make tokens of a served model, in float32, of about so many bytes."""
    columns = max(1, byte_count // (4 * identity.hidden_size))
    grid = Grid(1, 1, columns)
    embeddings = torch.randn(columns, identity.hidden_size)
    positions = torch.zeros(columns, 3)
    return VisionTokens(
        embeddings, (Piece(grid, grid),), positions, torch.ones(columns), identity, "0" * 64
    )


def reference(key: str, blob: bytes) -> tokens_pb2.TokenReference:
    """Build a reference to a blob, without a source yet."""
    checksum = bytes.fromhex(checksum_of(blob))
    return tokens_pb2.TokenReference(key=key, byte_count=len(blob), checksum_sha256=checksum)


def _changed(reference: tokens_pb2.TokenReference, **fields: Any) -> tokens_pb2.VisionTokens:
    message = tokens_pb2.VisionTokens(reference=reference)
    for name, value in fields.items():
        setattr(message.reference, name, value)
    return message


class _Pieces(encoder_pb2_grpc.EncoderServiceServicer):
    """Hands out held blobs as an encoder does: in its process, on its event loop."""

    def __init__(self, held_blobs: HeldBlobs) -> None:
        self._held_blobs = held_blobs

    async def FetchTokens(self, request: Any, context: Any) -> None:
        blob = memoryview(self._held_blobs.get(request.handle) or b"")
        for start in range(0, len(blob), CHUNK_BYTES):
            piece = bytes(blob[start : start + CHUNK_BYTES])
            await context.write(encoder_pb2.FetchTokensResponse(data=piece))


@asynccontextmanager
async def _handing_out(held_blobs: HeldBlobs) -> AsyncIterator[str]:
    server = grpc.aio.server()
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(_Pieces(held_blobs), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def best_threshold(points: Sequence[Point]) -> int:
    """Return the most bytes that should travel inline.

    It is the largest size at which fetching from the encoder, which is always there, is not faster;
    0 where fetching always is.
    """
    medians = {(p.way, p.byte_count): p.p50_ms for p in points}
    sizes = sorted({p.byte_count for p in points})
    inline = [s for s in sizes if medians["encoder", s] >= _MARGIN * medians["inline", s]]
    return max(inline, default=0)


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]
