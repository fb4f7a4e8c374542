"""The Ray Serve application. Ray imports it by path: `decoder_service.app:build`."""

from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from decoder_service.config import DecoderConfig
from decoder_service.replica import DecoderReplica
from luvc_core.compression.profile_files import read_profiles
from luvc_core.models.registry import read_layer_count
from luvc_core.runtime.cli_config import from_mapping

# Reports of replicas are averaged over this time, in which Ray samples them five times.
_LOOK_BACK_SECONDS = 15.0
# Services of the gRPC proxies. A call goes to the method of its name in the deployment.
SERVICER_FUNCTIONS = [
    "luvc.v1.decoder_pb2_grpc.add_DecoderServiceServicer_to_server",
    "grpc_health.v1.health_pb2_grpc.add_HealthServicer_to_server",
]


def build(settings: dict[str, Any]) -> Application:
    """Build the application from fields of DecoderConfig. Raises ValueError for unknown ones."""
    return application(from_mapping(DecoderConfig, settings))


def application(config: DecoderConfig) -> Application:
    """Build the application: replicas that scale, queue and stop as the configuration says.

    Requests bring their compression settings along, so that replicas need no profiles. A file of
    profiles is only checked here, before anything starts. Raises InvalidProfiles.
    """
    if config.profiles:
        read_profiles(config.profiles, read_layer_count(config.model))
    options: dict[str, Any] = {"num_replicas": config.replicas}
    if config.max_replicas:
        options = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=config.min_replicas,
                max_replicas=config.max_replicas,
                look_back_period_s=_LOOK_BACK_SECONDS,
                policy=AutoscalingPolicy(
                    policy_function="decoder_service.autoscaling:ByVisualTokens",
                    policy_kwargs={
                        "queued_tokens": config.target_queued_tokens,
                        "kv_usage": config.target_kv_usage,
                    },
                ),
                upscale_delay_s=config.upscale_delay,
                downscale_delay_s=config.downscale_delay,
            )
        }
    deployment = serve.deployment(
        DecoderReplica,
        name="decoder",
        max_ongoing_requests=config.max_ongoing,
        max_queued_requests=config.max_waiting,
        graceful_shutdown_timeout_s=config.grace,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        logging_config={"log_level": "WARNING", "enable_access_log": False},
        ray_actor_options={"num_cpus": config.replica_cpus, "num_gpus": config.replica_gpus},
        **options,
    )
    return deployment.bind(config)
