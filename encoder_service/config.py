"""Settings of the encoder service, from flags and LUVC_ENCODER_* variables."""

from dataclasses import dataclass

from luvc_core.compression.profiles import BUILT_IN, DEFAULT_PROFILE
from luvc_core.runtime.cli_config import check, flag
from luvc_core.runtime.service_config import (
    KIB,
    MIB,
    check_at_least,
    check_ports,
    check_seconds,
    device_flag,
    dtype_flag,
    grace_flag,
    log_format_flag,
    log_level_flag,
    model_flag,
    timeout_flag,
)
from luvc_core.store import is_shared


@dataclass(frozen=True)
class EncoderConfig:
    """All settings of one encoder service. Sizes are in bytes, times in seconds."""

    model: str = model_flag()
    host: str = flag("127.0.0.1", "address to listen on")
    port: int = flag(50051, "port to listen on; 0 takes a free one")
    decoder: str = flag("127.0.0.1:50052", "HOST:PORT of the decoder service")
    device: str = device_flag()
    dtype: str = dtype_flag()
    profiles: str = flag("", "TOML file of profiles to offer beside the built-in ones")
    profile: str = flag(DEFAULT_PROFILE, "compression where a request names none")
    max_media: int = flag(16, "most pictures and clips in a request")
    max_media_bytes: int = flag(20 * MIB, "largest picture file")
    max_media_pixels: int = flag(50_000_000, "most pixels of a picture, checked before decoding")
    max_videos: int = flag(4, "most clips in a request", former="max_clips")
    max_video_bytes: int = flag(60 * MIB, "largest clip file", former="max_clip_bytes")
    max_video_pixels: int = flag(
        4096 * 2304, "most pixels of a clip's frame", former="max_clip_pixels"
    )
    max_video_seconds: int = flag(600, "longest clip", former="max_clip_seconds")
    max_video_frames: int = flag(36_000, "most frames in a clip's file", former="max_clip_frames")
    max_shown_frames: int = flag(128, "most frames of a clip that the model looks at")
    video_timeout: float = flag(30.0, "longest time to decode a clip", former="clip_timeout")
    max_batch: int = flag(
        0, "most pictures of one size in the vision tower at once; 0 is 8, on CPUs 1"
    )
    max_active_videos: int = flag(
        2, "most clips in the vision tower or before it", former="max_active_clips"
    )
    store: str = flag("memory", "where visual tokens are kept: memory, redis://HOST:PORT or none")
    store_bytes: int = flag(512 * MIB, "most bytes that the store in memory holds")
    store_item_bytes: int = flag(128 * MIB, "most bytes of one picture or clip in a store")
    store_ttl: float = flag(3600.0, "time that Redis keeps tokens that nobody asks for")
    inline_bytes: int = flag(
        128 * KIB, "most bytes of a picture's tokens inside a request; larger ones are fetched"
    )
    promise_bytes: int = flag(512 * MIB, "most bytes kept for decoders that fetch")
    advertise: str = flag("", "HOST:PORT that decoders fetch from; by default host and port")
    store_timeout: float = flag(0.5, "longest time for one call of Redis")
    max_message_bytes: int = flag(64 * MIB, "largest gRPC message")
    max_active: int = flag(64, "most requests at work at once")
    max_waiting: int = flag(256, "most requests waiting; more are refused")
    timeout: float = timeout_flag()
    connect_timeout: float = flag(5.0, "longest time to reach the decoder")
    connection_age: float = flag(300.0, "time after which callers are asked to connect anew")
    decoder_connection_age: float = flag(
        60.0, "time after which calls take a new connection to the decoder"
    )
    grace: float = grace_flag()
    media_threads: int = flag(2, "threads that decode pictures")
    torch_threads: int = flag(0, "CPU threads of the vision tower; 0 takes what cores there are")
    api_keys: str = flag("", "file of callers: a line each of a key's SHA-256, hex, and a tenant")
    tenant_active: int = flag(32, "most requests of one tenant at work at once")
    tenant_waiting: int = flag(64, "most requests of one tenant waiting; more are refused")
    tls_cert: str = flag("", "PEM file of the server's certificates; turns TLS on, with --tls-key")
    tls_key: str = flag("", "PEM file of the server's key")
    tls_client_ca: str = flag("", "PEM file of authorities: callers need a certificate of theirs")
    metrics_port: int = flag(0, "HTTP port of Prometheus metrics, on host; 0 offers none")
    log_level: str = log_level_flag()
    log_format: str = log_format_flag()

    def __post_init__(self) -> None:
        self._check_addresses()
        # The names in a profile file are known when it is read.
        known = bool(self.profiles) or self.profile in BUILT_IN.names
        allowed = f"{', '.join(BUILT_IN.names)}, or one of --profiles FILE"
        check(known, "profile", repr(self.profile), allowed)
        check_at_least(
            self, 1,
            "max_media", "max_media_bytes", "max_media_pixels", "max_message_bytes", "max_videos",
            "max_video_bytes", "max_video_pixels", "max_video_seconds", "max_video_frames",
            "max_shown_frames", "max_active_videos", "max_active", "media_threads", "store_bytes",
            "tenant_active", "store_item_bytes",
        )  # fmt: skip
        check(self.store in ("memory", "none") or is_shared(self.store), "store", repr(self.store),
              "memory, none, redis://HOST:PORT, rediss://HOST:PORT or unix://PATH")  # fmt: skip
        check(bool(self.tls_cert) == bool(self.tls_key), "tls_key", repr(self.tls_key),
              "a file, together with --tls-cert")  # fmt: skip
        check(not self.tls_client_ca or bool(self.tls_cert), "tls_client_ca",
              repr(self.tls_client_ca), "with --tls-cert only")  # fmt: skip
        check_at_least(
            self, 0,
            "max_waiting", "max_batch", "torch_threads", "inline_bytes", "promise_bytes",
            "tenant_waiting",
        )  # fmt: skip
        check_seconds(
            self,
            "timeout", "video_timeout", "connect_timeout", "grace", "store_ttl", "store_timeout",
            "connection_age", "decoder_connection_age",
        )  # fmt: skip

    def _check_addresses(self) -> None:
        check_ports(self, 0, "port", "metrics_port")
        decoder_port = self.decoder.rpartition(":")[2]
        check(decoder_port.isdecimal(), "decoder", repr(self.decoder), "HOST:PORT")
        advertised_port = self.advertise.rpartition(":")[2]
        check(not self.advertise or advertised_port.isdecimal(), "advertise",
              repr(self.advertise), "HOST:PORT")  # fmt: skip
