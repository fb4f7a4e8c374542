"""Check what must fit between the halves, their stores and their deadlines."""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence

from deploy.check import serve_config
from deploy.check.files import Invalid, parse
from deploy.check.pods import Manifest, Pod, pods_of
from encoder_service.config import EncoderConfig
from luvc_core.runtime.cli_config import config_from

PREFIX = "LUVC_ENCODER_"
# What is put in by Kubernetes, made into something that the settings take.
_STAND_INS = {"$(POD_IP)": "10.0.0.1", "$(CACHE_PASSWORD)": "password"}


def together_problems(manifests: list[Manifest]) -> Iterator[str]:
    """Find what does not fit. Each manifest must be valid by itself."""
    by_name = {(m["kind"], m["metadata"]["name"]): m for m in manifests}
    encoder, service = by_name["Deployment", "luvc-encoder"], by_name["RayService", "luvc-decoder"]
    (pod,) = pods_of([encoder])
    try:
        (config,) = parse(service["spec"]["serveConfigV2"], "serveConfigV2")
        environ = {v["name"]: v.get("value", "") for v in pod.main.get("env", ())}
        flags = encoder_settings(pod.main["args"], environ)
    except (Invalid, ValueError) as error:
        yield f"RayService luvc-decoder or Deployment luvc-encoder: {error}"
        return
    if found := list(serve_config.problems(config, "serveConfigV2")):
        yield from found
        return
    yield from _encoder_problems(flags, pod, service)
    yield from _decoder_problems(config, service)
    yield from _upgrade_problems(flags, config, service)
    decoder = serve_config.settings_of(config)
    if flags.model != decoder.model:
        yield f"the encoder has {flags.model}, the decoder {decoder.model}"
    yield from _redis_problems(by_name, flags, service)


def encoder_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> EncoderConfig:
    """Read flags and variables as the encoder will.

    Raises:
        ValueError: with what the encoder would say.
    """
    for stand_in, value in _STAND_INS.items():
        arguments = [a.replace(stand_in, value) for a in arguments]
        environ = {k: v.replace(stand_in, value) for k, v in environ.items()}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return config_from(EncoderConfig, "encoder", PREFIX, arguments, environ)
    except SystemExit:
        raise ValueError(said.getvalue().strip().splitlines()[-1]) from None


def _encoder_problems(flags: EncoderConfig, pod: Pod, service: Manifest) -> Iterator[str]:
    if (flags.port, flags.metrics_port) != (pod.ports.get("grpc"), pod.ports.get("metrics")):
        yield "the encoder listens on other ports than its pod says"
    name, _, port = flags.decoder.rpartition(":")
    serve = service["spec"]["serveService"]
    ports = {p["name"]: p["port"] for p in serve["spec"]["ports"]}
    if (name, int(port)) != (serve["metadata"]["name"], ports.get("serve-grpc")):
        yield f"--decoder {flags.decoder} is not the decoder's Service"
    pause = pod.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if not pause:
        yield "the encoder closes its port before load balancers know"
    if pause + flags.grace > pod.spec.get("terminationGracePeriodSeconds", 30):
        yield "the encoder is killed before its grace is over"
    if flags.grace < flags.timeout:
        yield "a rollout of the encoder cuts requests short"


def _decoder_problems(config: Manifest, service: Manifest) -> Iterator[str]:
    settings = serve_config.settings_of(config)
    cluster = service["spec"]["rayClusterConfig"]
    wanted = {"serve": config["http_options"]["port"], "serve-grpc": config["grpc_options"]["port"]}
    listed = {p["name"]: p["port"] for p in service["spec"]["serveService"]["spec"]["ports"]}
    if listed != wanted:
        yield "serveService and serveConfigV2 have different ports"
    for pod in pods_of([service]):
        if not wanted.items() <= pod.ports.items():
            yield "a pod of Ray lacks the ports serve and serve-grpc of serveConfigV2"
        params = pod.ray_params or {}
        if int(params.get("metrics-export-port", 0)) != pod.ports.get("metrics"):
            yield "Ray exports metrics on another port than its pod says"
        if pod.spec.get("terminationGracePeriodSeconds", 30) <= settings.grace:
            yield "a pod of Ray is killed before its grace is over"
    head, (group,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    if head["rayStartParams"].get("num-cpus") != "0":
        yield "replicas may land on the head"
    autoscaler = cluster.get("autoscalerOptions", {})
    if not cluster.get("enableInTreeAutoscaling") or autoscaler.get("version") != "v2":
        yield "the autoscaler v2 is not on"
    if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
        yield "workers: minReplicas, replicas and maxReplicas are in no order"
    limits = group["template"]["spec"]["containers"][0]["resources"]
    offered = {**limits["requests"], **limits["limits"]}
    for kind, needed in (("cpu", settings.replica_cpus), ("nvidia.com/gpu", settings.replica_gpus)):
        if needed > float(offered.get(kind, 0)):
            yield f"no worker has the {kind} that a replica needs"


def _upgrade_problems(flags: EncoderConfig, config: Manifest, service: Manifest) -> Iterator[str]:
    strategy = service["spec"].get("upgradeStrategy", {}).get("type")
    if strategy != "NewCluster":
        yield f"upgradeStrategy {strategy}: only NewCluster keeps gRPC up"
    # Encoders may start a call on an old connection, and the call may take its time.
    needed = flags.decoder_connection_age + serve_config.settings_of(config).timeout
    if service["spec"].get("rayClusterDeletionDelaySeconds", 60) < needed:
        yield "the old cluster goes while encoders still ask it"


def _redis_problems(
    by_name: Mapping[tuple[str, str], Manifest], flags: EncoderConfig, service: Manifest
) -> Iterator[str]:
    cache, gcs = by_name["Deployment", "luvc-cache"], by_name["StatefulSet", "luvc-gcs"]
    for manifest, policy, persist in ((cache, "allkeys-lru", "no"), (gcs, "noeviction", "yes")):
        arguments = manifest["spec"]["template"]["spec"]["containers"][0]["args"]
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        if (options["--maxmemory-policy"], options["--appendonly"]) != (policy, persist):
            yield f"{manifest['metadata']['name']}: must be {policy} with --appendonly {persist}"
    state = service["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions", {})
    if state.get("redisAddress") != "luvc-gcs:6379" or "redisPassword" not in state:
        yield "the head keeps its state in no Redis of its own"
    if not flags.store.endswith("@luvc-cache:6379"):
        yield f"the encoder keeps tokens in {flags.store}"
