"""Check the compose file: its schema, its services' settings, and what it says of other files."""

import re
from collections.abc import Iterator
from typing import Any

from deploy.check import serve_config
from deploy.check.files import DEPLOY, documents
from deploy.check.schemas import compose_problems
from deploy.check.together import encoder_settings

_VARIABLES = {
    "RAY_AUTH_MODE",
    "RAY_worker_niceness",
    "GOMP_SPINCOUNT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "GF_ANALYTICS_REPORTING_ENABLED",
    "GF_ANALYTICS_CHECK_FOR_UPDATES",
}


def problems(document: dict[str, Any]) -> Iterator[str]:
    """Find problems of a compose file that stands in deploy/."""
    if found := list(compose_problems(document)):
        yield from found
        return
    services = document["services"]
    for name, service in services.items():
        for other in service.get("depends_on", ()):
            if other not in services:
                yield f"compose.yaml: {name} waits for {other}, which is not there"
        yield from _mount_problems(name, service, document.get("volumes", {}))
        for variable in set(service.get("environment", ())) - _VARIABLES:
            yield f"compose.yaml: {name}: {variable} is not known"
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
            yield f"compose.yaml: {name} is not confined"
        yield from _image_problems(name, service)
    yield from _encoder_problems(services)


def _mount_problems(name: str, service: dict[str, Any], volumes: dict[str, Any]) -> Iterator[str]:
    for mount in service.get("volumes", ()):
        source = mount.partition(":")[0]
        if source.startswith("./") and not (DEPLOY / source).exists():
            yield f"compose.yaml: {name}: no {source}"
        if not source.startswith("./") and source not in volumes:
            yield f"compose.yaml: {name}: no volume {source}"


def _image_problems(name: str, service: dict[str, Any]) -> Iterator[str]:
    build = service.get("build")
    if build is None:
        if "image" not in service:
            yield f"compose.yaml: {name}: neither image nor build"
        return
    file = DEPLOY / build["context"] / build["dockerfile"]
    if not file.is_file():
        yield f"compose.yaml: {name}: no {build['dockerfile']}"
        return
    arguments = set(re.findall(r"^ARG (\w+)", file.read_text(), re.MULTILINE))
    if unknown := set(build.get("args", ())) - arguments:
        yield f"compose.yaml: {name}: the image has no build argument {', '.join(unknown)}"


def _encoder_problems(services: dict[str, Any]) -> Iterator[str]:
    try:
        settings = encoder_settings(services["encoder"]["command"], {})
    except (KeyError, ValueError) as error:
        yield f"compose.yaml: encoder: {error}"
        return
    (serve,) = documents(DEPLOY / "serve.yaml")
    decoder = serve_config.settings_of(serve)
    head = f"ray-head:{serve['grpc_options']['port']}"
    advertised = settings.advertise.partition(":")[0]
    if settings.decoder != head or "ray-head" not in services:
        yield f"compose.yaml: the encoder asks {settings.decoder}, the decoder is {head}"
    if advertised not in services or advertised not in decoder.fetch_hosts.split(","):
        yield f"compose.yaml: replicas do not fetch from {advertised}"
    store = re.sub(r"^redis://|:\d+$", "", settings.store)
    if store not in services:
        yield f"compose.yaml: there is no store at {settings.store}"
    if "--maxmemory-policy=allkeys-lru" not in services.get(store, {}).get("command", ()):
        yield "compose.yaml: the token store must evict by allkeys-lru"
    if settings.model != decoder.model:
        yield f"compose.yaml: the encoder has {settings.model}, the decoder {decoder.model}"
    for target in _targets():
        host, _, port = target.partition(":")
        flags = {f"--metrics-port={port}", f"--metrics-export-port={port}"}
        if not flags & set(services.get(host, {}).get("command", ())):
            yield f"prometheus.yml: nothing exports metrics at {target}"


def _targets() -> Iterator[str]:
    (config,) = documents(DEPLOY / "prometheus" / "prometheus.yml")
    for job in config["scrape_configs"]:
        for group in job["static_configs"]:
            yield from group["targets"]
