"""The gRPC server: made, run, and drained."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from luvc.local_stack.cpu_cores import core_count
from luvc.v1 import encoder_pb2_grpc
from prometheus_client import start_http_server

from encoder_service.api.interceptors import ReadableRequestInterceptor
from encoder_service.api.servicer import SERVICE, EncoderServicer
from encoder_service.config import EncoderConfig
from encoder_service.encoding.executor import EncodingExecutor
from encoder_service.encoding.pipeline import EncodingPipeline
from encoder_service.metrics import Metrics
from encoder_service.tenants import ApiKeyInterceptor, Tenants
from encoder_service.transfer.decoder_client import DecoderClient
from encoder_service.transfer.token_sender import TokenSender
from luvc_core.compression.profile_files import read_profiles
from luvc_core.compression.profiles import Profiles
from luvc_core.media.images import MediaLimits
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.registry import load_vision
from luvc_core.runtime.cpu_threads import compute_on
from luvc_core.store import open_store

log = logging.getLogger(__name__)

# Calls beyond the requests themselves: health checks and reflection.
_SPARE_CALLS = 32
# Calls end by their own deadlines before a connection that has grown old is cut.
_SPARE_SECONDS = 10.0


async def serve(config: EncoderConfig) -> None:
    """Load the model, serve until SIGINT or SIGTERM, let accepted requests finish, return."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # A file that cannot be used is better known before the weights are loaded.
    profiles = load_profiles(config)
    config = replace(config, torch_threads=config.torch_threads or core_count())
    compute_on(1)
    encoder = await asyncio.to_thread(load, config)
    if stop.is_set():
        return
    async with running(encoder, profiles, config) as port:
        print(f"encoder ready on {config.host}:{port} ({encoder.identity})", flush=True)
        await stop.wait()


@asynccontextmanager
async def running(
    encoder: MediaEncoder, profiles: Profiles, config: EncoderConfig
) -> AsyncIterator[int]:
    """A server that serves for the time of the block, then drains. Gives the port that it got."""
    vision = EncodingExecutor(encoder, config)
    store = open_store(
        config.store,
        max_bytes=config.store_bytes,
        max_item_bytes=config.store_item_bytes,
        ttl=config.store_ttl,
        timeout=config.store_timeout,
    )
    decoder = DecoderClient(
        config.decoder, encoder.identity, config.connect_timeout, config.decoder_connection_age
    )
    carrier = TokenSender(vision, config)
    tenants = Tenants.load(config)
    plane = EncodingPipeline(vision, store, config)
    metrics = Metrics()
    servicer = EncoderServicer(plane, carrier, decoder, tenants, profiles, config, metrics)
    metrics.watch(servicer.slots, tenants, vision, carrier.promises, plane)
    server, health_servicer, port = make_server(servicer, tenants, metrics, config)
    carrier.endpoint = config.advertise or _own_endpoint(config.host, port)
    stop_metrics = _offer(metrics, config)
    await server.start()
    await health_servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield port
        await health_servicer.enter_graceful_shutdown()
    finally:
        # Closes the port at once: new calls are UNAVAILABLE, accepted ones have the grace.
        await server.stop(config.grace)
        vision.close()
        await decoder.close()
        if store is not None:
            await store.close()
        stop_metrics()


def _offer(metrics: Metrics, config: EncoderConfig) -> Callable[[], None]:
    """Answer scrapes on a thread, until what it returns is called. Raises OSError for a port that
    is taken."""
    if not config.metrics_port:
        return lambda: None
    http, thread = start_http_server(config.metrics_port, config.host, metrics.registry)

    def stop() -> None:
        http.shutdown()
        http.server_close()
        thread.join()

    return stop


def make_server(
    servicer: EncoderServicer, tenants: Tenants, metrics: Metrics, config: EncoderConfig
) -> tuple[grpc.aio.Server, health.aio.HealthServicer, int]:
    """A server with health and reflection, not started yet, and the port that it got."""
    # Which call it was is the caller's word, and no label.
    refused = partial(metrics.ended, "any")
    server = grpc.aio.server(
        options=_options(config),
        interceptors=[ApiKeyInterceptor(tenants, refused), ReadableRequestInterceptor(refused)],
        # Each request at work may have its decoder fetch what it was promised.
        maximum_concurrent_rpcs=2 * config.max_active + config.max_waiting + _SPARE_CALLS,
    )
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(servicer, server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(
        (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    address, credentials = f"{config.host}:{config.port}", _credentials(config)
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    return server, health_servicer, port


def _credentials(config: EncoderConfig) -> grpc.ServerCredentials | None:
    """None without TLS. Raises OSError for files that cannot be read."""
    if not config.tls_cert:
        return None
    key, cert = Path(config.tls_key).read_bytes(), Path(config.tls_cert).read_bytes()
    authorities = Path(config.tls_client_ca).read_bytes() if config.tls_client_ca else None
    return grpc.ssl_server_credentials([(key, cert)], authorities, authorities is not None)


def _own_endpoint(host: str, port: int) -> str:
    """Where decoders reach this encoder; empty where it listens on all addresses, as none of them
    is known to be theirs."""
    if host in ("0.0.0.0", "::", "[::]"):
        log.warning("tokens travel inside requests only: decoders fetch with --advertise HOST:PORT")
        return ""
    return f"{host}:{port}"


def _options(config: EncoderConfig) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # A second server on the same port must fail, not share it.
        ("grpc.so_reuseport", 0),
        # Or clients that balance by themselves would never look for encoders that came since.
        ("grpc.max_connection_age_ms", int(1000 * config.connection_age)),
        ("grpc.max_connection_age_grace_ms", int(1000 * (config.timeout + _SPARE_SECONDS))),
    )


def load_profiles(config: EncoderConfig) -> Profiles:
    """What requests may name. Raises InvalidSettings for a bad file, or default profile."""
    profiles = read_profiles(config.profiles)
    profiles.get(config.profile, "--profile")
    return profiles


def load(config: EncoderConfig) -> MediaEncoder:
    """The vision half of the configured model, with the configured limits."""
    limits = MediaLimits(
        max_bytes=config.max_media_bytes,
        max_pixels=config.max_media_pixels,
        max_items=config.max_media,
        max_videos=config.max_videos,
        max_video_bytes=config.max_video_bytes,
        max_video_pixels=config.max_video_pixels,
        max_video_seconds=config.max_video_seconds,
        max_video_frames=config.max_video_frames,
        max_shown_frames=config.max_shown_frames,
    )
    return MediaEncoder(load_vision(config.model, config.device, config.dtype), limits)
