"""Settings of the decoder service, from flags and LUVC_DECODER_* variables."""

from dataclasses import dataclass

from luvc_core.runtime.cli_config import check, flag
from luvc_core.runtime.service_config import (
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

# Health checks and model info, which a replica takes beside the answers that it works on.
_SPARE_CALLS = 8


@dataclass(frozen=True)
class DecoderConfig:
    """All settings of the decoder service. Sizes are in bytes, times in seconds."""

    model: str = model_flag()
    profiles: str = flag("", "TOML file of profiles whose schedules have to fit the model")
    host: str = flag("127.0.0.1", "address of Ray's HTTP port; Ray binds gRPC to all addresses")
    port: int = flag(50052, "gRPC port")
    http_port: int = flag(8000, "Ray Serve's HTTP port, which answers /-/healthz")
    ray_address: str = flag("", "Ray cluster to join; by default a local one is started")
    ray_cpus: int = flag(0, "CPUs of the local Ray; 0 takes what there is and what replicas need")
    object_store_bytes: int = flag(100 * MIB, "object store of the local Ray")
    replicas: int = flag(1, "fixed number of replicas")
    min_replicas: int = flag(0, "autoscaling: fewest replicas, with --max-replicas")
    max_replicas: int = flag(0, "autoscaling: most replicas; 0 keeps --replicas")
    target_queued_tokens: float = flag(
        4096.0, "autoscaling: visual tokens that wait for their answers to begin, a replica"
    )
    target_kv_usage: float = flag(0.7, "autoscaling: share of kv_bytes that should be in use")
    upscale_delay: float = flag(10.0, "autoscaling: time of overload before a replica is added")
    downscale_delay: float = flag(300.0, "autoscaling: time of idleness before one is removed")
    replica_cpus: float = flag(1.0, "CPUs that Ray reserves for a replica")
    replica_gpus: float = flag(0.0, "GPUs that Ray reserves for a replica")
    torch_threads: int = flag(0, "CPU threads of a replica; 0 shares out what there is")
    device: str = device_flag()
    dtype: str = dtype_flag()
    pruning: str = flag(
        "auto",
        "auto leaves SPU out where it costs more than it saves",
        ("auto", "always"),
        former_values={"thrifty": "auto"},
    )
    max_active: int = flag(32, "most answers a replica works on at once")
    kv_bytes: int = flag(4096 * MIB, "most keys and values that a replica's answers hold at once")
    prefill_rows: int = flag(8192, "tokens times layers of prompts between two steps of answers")
    max_waiting: int = flag(64, "most requests waiting in a replica; more are refused")
    text_interval: float = flag(
        0.02, "least time between two texts of an answer; what comes sooner travels with the next"
    )
    store: str = flag("none", "where encoders keep visual tokens: redis://HOST:PORT or none")
    fetch_hosts: str = flag(
        "127.0.0.1,localhost", "hosts of encoders to fetch tokens from, with commas; * for any part"
    )
    fetch_ca: str = flag("", "PEM file of authorities: fetch from encoders with TLS")
    fetch_cert: str = flag("", "PEM file of certificates to show encoders, with --fetch-key")
    fetch_key: str = flag("", "PEM file of their key")
    fetch_timeout: float = flag(10.0, "longest time to fetch the tokens of a picture or clip")
    max_fetch_bytes: int = flag(256 * MIB, "most bytes of the tokens of a picture or clip")
    timeout: float = timeout_flag()
    grace: float = grace_flag()
    metrics_port: int = flag(0, "HTTP port of the local Ray's Prometheus metrics; 0 takes any")
    log_level: str = log_level_flag()
    log_format: str = log_format_flag()

    def __post_init__(self) -> None:
        check_ports(self, 1, "port", "http_port")
        check_ports(self, 0, "metrics_port")
        check(self.store == "none" or is_shared(self.store), "store", repr(self.store),
              "none, redis://HOST:PORT, rediss://HOST:PORT or unix://PATH")  # fmt: skip
        check(bool(self.fetch_cert) == bool(self.fetch_key), "fetch_key", repr(self.fetch_key),
              "a file, together with --fetch-cert and --fetch-ca")  # fmt: skip
        check(not self.fetch_cert or bool(self.fetch_ca), "fetch_ca", repr(self.fetch_ca),
              "a file, with --fetch-cert")  # fmt: skip
        check_at_least(
            self, 1, "replicas", "max_active", "kv_bytes", "prefill_rows", "max_fetch_bytes"
        )
        check_at_least(
            self, 0, "ray_cpus", "torch_threads", "max_waiting", "replica_cpus", "replica_gpus"
        )
        check_seconds(self, "timeout", "grace", "upscale_delay", "downscale_delay", "fetch_timeout")
        self._check_autoscaling()
        check(0 <= self.text_interval <= 1, "text_interval", self.text_interval, "0 to 1")
        check(self.object_store_bytes >= 80 * MIB, "object_store_bytes", self.object_store_bytes,
              f">= {80 * MIB}")  # fmt: skip

    def _check_autoscaling(self) -> None:
        queued, usage = self.target_queued_tokens, self.target_kv_usage
        check(queued >= 1, "target_queued_tokens", queued, ">= 1")
        check(0 < usage <= 1, "target_kv_usage", usage, "(0, 1]")
        check(self.max_replicas >= 0, "max_replicas", self.max_replicas, ">= 0")
        low, high = (0, 0) if self.max_replicas == 0 else (1, self.max_replicas)
        check(low <= self.min_replicas <= high, "min_replicas", self.min_replicas, f"{low}-{high}")

    @property
    def replica_limit(self) -> int:
        """How many replicas may run at once."""
        return self.max_replicas or self.replicas

    @property
    def max_ongoing(self) -> int:
        """Calls that Ray may hand to one replica at once."""
        return self.max_active + self.max_waiting + _SPARE_CALLS
