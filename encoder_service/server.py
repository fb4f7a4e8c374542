"""The gRPC server: made, run, and drained."""

import asyncio
import signal
from collections.abc import Sequence

import grpc
import torch
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from luvc.v1 import encoder_pb2, encoder_pb2_grpc

from encoder_service.config import EncoderConfig
from encoder_service.decoder_client import DecoderClient
from encoder_service.servicer import EncoderServicer
from encoder_service.vision import Vision
from luvc_core.encode import Encoder
from luvc_core.media.images import MediaLimits
from luvc_core.models.registry import load_vision

SERVICE: str = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name
# Calls beyond the requests themselves: health checks and reflection.
_SPARE_CALLS = 32


async def serve(config: EncoderConfig) -> None:
    """Load the model, serve until SIGINT or SIGTERM, let accepted requests finish, return."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    encoder = await asyncio.to_thread(_load, config)
    if stop.is_set():
        return
    vision = Vision(encoder, config)
    decoder = DecoderClient(config.decoder, encoder.identity, config.connect_timeout)
    server, health_servicer, port = make_server(EncoderServicer(vision, decoder, config), config)
    await server.start()
    await health_servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    try:
        print(f"encoder ready on {config.host}:{port} ({encoder.identity})", flush=True)
        await stop.wait()
        await health_servicer.enter_graceful_shutdown()
    finally:
        # Closes the port at once: new calls are UNAVAILABLE, accepted ones have the grace.
        await server.stop(config.grace)
        vision.close()
        await decoder.close()


def make_server(
    servicer: EncoderServicer, config: EncoderConfig
) -> tuple[grpc.aio.Server, health.aio.HealthServicer, int]:
    """A server with health and reflection, not started yet, and the port that it got."""
    server = grpc.aio.server(
        options=_options(config),
        maximum_concurrent_rpcs=config.max_active + config.max_waiting + _SPARE_CALLS,
    )
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(servicer, server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(
        (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    port = server.add_insecure_port(f"{config.host}:{config.port}")
    return server, health_servicer, port


def _options(config: EncoderConfig) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # A second server on the same port must fail, not share it.
        ("grpc.so_reuseport", 0),
    )


def _load(config: EncoderConfig) -> Encoder:
    if config.torch_threads:
        torch.set_num_threads(config.torch_threads)
    limits = MediaLimits(
        max_bytes=config.max_media_bytes,
        max_pixels=config.max_media_pixels,
        max_items=config.max_media,
        max_clips=config.max_clips,
        max_clip_bytes=config.max_clip_bytes,
        max_clip_pixels=config.max_clip_pixels,
        max_clip_seconds=config.max_clip_seconds,
        max_clip_frames=config.max_clip_frames,
        max_shown_frames=config.max_shown_frames,
    )
    return Encoder(load_vision(config.model, config.device, config.dtype), limits)
