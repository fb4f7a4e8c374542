"""The gRPC server of the encoder: how it is built, run and drained."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from luvc.access import read_pem
from luvc.local_stack.cpu_cores import core_count
from luvc.v1 import encoder_pb2_grpc
from prometheus_client import start_http_server

from encoder_service.api.interceptors import ApiKeyInterceptor, ReadableRequestInterceptor
from encoder_service.api.servicer import SERVICE, EncoderServicer
from encoder_service.config import EncoderConfig
from encoder_service.encoding.executor import EncodingExecutor
from encoder_service.encoding.pipeline import EncodingPipeline
from encoder_service.metrics import Metrics
from encoder_service.tenants import Tenants
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

# Health checks and reflection, beside the requests themselves.
_SPARE_CALLS = 32
# Calls end by their own deadlines before a connection that has grown old is cut.
_SPARE_SECONDS = 10.0


async def serve(config: EncoderConfig) -> None:
    """Load the model, serve until SIGINT or SIGTERM, let accepted requests finish, return."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Loading weights takes long: a bad file of profiles should be refused before.
    profiles = profiles_from(config)
    config = replace(config, torch_threads=config.torch_threads or core_count())
    compute_on(1)
    encoder = await asyncio.to_thread(load_encoder, config)
    if stop.is_set():
        return
    async with running(encoder, profiles, config) as port:
        print(f"encoder ready on {config.host}:{port} ({encoder.identity})", flush=True)
        await stop.wait()


@asynccontextmanager
async def running(
    encoder: MediaEncoder, profiles: Profiles, config: EncoderConfig
) -> AsyncIterator[int]:
    """Serve for the time of the block, then drain.

    Args:
        encoder: the vision half, with its weights loaded.
        profiles: those that requests may name.
        config: all other settings.

    Yields:
        The port that the server listens on.

    Raises:
        OSError: for files that cannot be read, and for a metrics port that is taken.
    """
    executor = EncodingExecutor(encoder, config)
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
    token_sender = TokenSender(executor, config)
    tenants = Tenants.from_file(config)
    pipeline = EncodingPipeline(executor, store, config)
    metrics = Metrics()
    servicer = EncoderServicer(pipeline, token_sender, decoder, tenants, profiles, config, metrics)
    metrics.watch(servicer.limiter, tenants, executor, token_sender.held_blobs, pipeline)
    server, health_servicer, port = build_server(servicer, tenants, metrics, config)
    token_sender.endpoint = config.advertise or _reachable_endpoint(config.host, port)
    stop_metrics = _serve_metrics(metrics, config)
    await server.start()
    await health_servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield port
        await health_servicer.enter_graceful_shutdown()
    finally:
        # Closes the port at once: new calls are UNAVAILABLE, accepted ones have the grace.
        await server.stop(config.grace)
        executor.close()
        await decoder.close()
        if store is not None:
            await store.close()
        stop_metrics()


def _serve_metrics(metrics: Metrics, config: EncoderConfig) -> Callable[[], None]:
    """Answer scrapes on a thread until the function that is returned is called.

    Raises OSError for a port that is taken.
    """
    if not config.metrics_port:
        return lambda: None
    http, thread = start_http_server(config.metrics_port, config.host, metrics.registry)

    def stop() -> None:
        http.shutdown()
        http.server_close()
        thread.join()

    return stop


def build_server(
    servicer: EncoderServicer, tenants: Tenants, metrics: Metrics, config: EncoderConfig
) -> tuple[grpc.aio.Server, health.aio.HealthServicer, int]:
    """Build the server, with health and reflection; it is not started yet.

    Args:
        servicer: answers the calls.
        tenants: who may call.
        metrics: counts calls that are refused before they reach the servicer.
        config: address, TLS and limits.

    Returns:
        The server, its health servicer, and the port that it is bound to.
    """
    # The method of a refused call is whatever its caller wrote: it becomes no label.
    count_refused = partial(metrics.record_end, "any")
    server = grpc.aio.server(
        options=_options(config),
        interceptors=[
            ApiKeyInterceptor(tenants, count_refused),
            ReadableRequestInterceptor(count_refused),
        ],
        # For each request at work, the decoder may fetch tokens by another call.
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
    """Read the TLS files; return None without TLS. Raises OSError."""
    key, certificate = read_pem(config.tls_key), read_pem(config.tls_cert)
    if key is None or certificate is None:
        return None
    authorities = read_pem(config.tls_client_ca)
    return grpc.ssl_server_credentials([(key, certificate)], authorities, authorities is not None)


def _reachable_endpoint(host: str, port: int) -> str:
    """Return where decoders reach this encoder; empty where it listens on all addresses.

    Which of those a decoder can reach is not known here.
    """
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
        # Makes clients that balance by themselves look for encoders that were added since.
        ("grpc.max_connection_age_ms", int(1000 * config.connection_age)),
        ("grpc.max_connection_age_grace_ms", int(1000 * (config.timeout + _SPARE_SECONDS))),
    )


def profiles_from(config: EncoderConfig) -> Profiles:
    """Read the profiles that requests may name.

    Raises InvalidSettings for a bad file, and for a default profile that is in none.
    """
    profiles = read_profiles(config.profiles)
    profiles.get(config.profile, "--profile")
    return profiles


def load_encoder(config: EncoderConfig) -> MediaEncoder:
    """Load the weights of the vision half, and apply the configured limits."""
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
