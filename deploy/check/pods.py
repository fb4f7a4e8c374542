"""Find the pods of a set of manifests, wherever they are written, and check within each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ray.scripts.scripts import start

from deploy.check.files import walk

Manifest = dict[str, Any]
RESOURCES = {"cpu", "memory", "storage", "nvidia.com/gpu"}
LABELS = {"app.kubernetes.io/name", "pod-security.kubernetes.io/enforce"}
ANNOTATIONS = {"prometheus.io/scrape", "prometheus.io/port"}
NODE_LABELS = {"luvc.dev/pool"}
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_RAY_FLAGS = {option.removeprefix("--") for param in start.params for option in param.opts}


@dataclass(frozen=True)
class Pod:
    """A pod template.

    Attributes:
        owner: the manifest that it is in.
        ray_params: of `ray start`, if any.
    """

    owner: str
    template: Manifest
    ray_params: Manifest | None = None

    @property
    def labels(self) -> Manifest:
        found: Manifest = self.template.get("metadata", {}).get("labels", {})
        return found

    @property
    def spec(self) -> Manifest:
        found: Manifest = self.template.get("spec", {})
        return found

    @property
    def main(self) -> Manifest:
        """The first container."""
        found: Manifest = self.spec["containers"][0]
        return found

    @property
    def ports(self) -> dict[str, int]:
        """Container ports by name."""
        containers = self.spec.get("containers", ())
        return {p["name"]: p["containerPort"] for c in containers for p in c.get("ports", ())}


def pods_of(manifests: list[Manifest]) -> Iterator[Pod]:
    """Yield all pods that a set of manifests will make."""
    for manifest in manifests:
        owner = f"{manifest['kind']} {manifest['metadata']['name']}"
        spec = manifest.get("spec", {})
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            yield Pod(owner, spec["template"])
        elif manifest["kind"] == "RayService":
            cluster = spec["rayClusterConfig"]
            for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())):
                yield Pod(owner, group["template"], group["rayStartParams"])


def resource_problems(manifest: Manifest) -> Iterator[str]:
    """Find resources with names that nothing offers, and amounts that are none.

    Any name passes the schema.
    """
    for path, node in walk(manifest):
        if path.endswith(("/resources/requests", "/resources/limits")):
            for key, value in node.items():
                if key not in RESOURCES or not _QUANTITY.fullmatch(str(value)):
                    yield f"{manifest['metadata']['name']}: {path}: {key}: {value}"


def pod_problems(pod: Pod) -> Iterator[str]:
    """Find problems within a pod although its schema holds."""
    spec, name = pod.spec, pod.owner
    if spec.get("enableServiceLinks") is not False:
        yield f"{name}: service links are on, whose variables the services refuse"
    if not spec.get("securityContext", {}).get("runAsNonRoot"):
        yield f"{name}: may run as root"
    volumes = {volume["name"] for volume in spec.get("volumes", ())}
    for container in spec["containers"]:
        yield from _container_problems(container, volumes | _claims(pod), pod, name)
    for key in set(spec.get("nodeSelector", ())) - NODE_LABELS:
        yield f"{name}: no node is known to have the label {key}"
    annotations = pod.template.get("metadata", {}).get("annotations", {})
    for key in set(annotations) - ANNOTATIONS:
        yield f"{name}: nobody reads the annotation {key}"
    if annotations and int(annotations.get("prometheus.io/port", 0)) != pod.ports.get("metrics"):
        yield f"{name}: Prometheus is sent to another port than the one called metrics"
    for key in set(pod.ray_params or ()) - _RAY_FLAGS:
        yield f"{name}: `ray start` has no --{key}"


def _claims(pod: Pod) -> set[str]:
    # Volumes that a StatefulSet claims have the names of its templates; schema-checked there.
    return {"data"} if pod.owner.startswith("StatefulSet") else set()


def _container_problems(
    container: Manifest, volumes: set[str], pod: Pod, name: str
) -> Iterator[str]:
    context = container.get("securityContext", {})
    if not context.get("readOnlyRootFilesystem") or context.get("allowPrivilegeEscalation", True):
        yield f"{name}: container {container['name']} is not confined"
    for mount in container.get("volumeMounts", ()):
        if mount["name"] not in volumes:
            yield f"{name}: no volume {mount['name']}"
    resources = container.get("resources", {})
    for section in ("requests", "limits"):
        if "memory" not in resources.get(section, {}):
            yield f"{name}: {section}: no memory"
    if "cpu" not in resources.get("requests", {}):
        yield f"{name}: requests: no cpu"
    variables: set[str] = set()
    for variable in container.get("env", ()):
        # Kubernetes puts in those that stand before.
        yield from _undefined(variable.get("value", ""), variables, name)
        variables.add(variable["name"])
    for argument in container.get("args", ()):
        yield from _undefined(argument, variables, name)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for check in container.get(probe, {}).values():
            port = check.get("port") if isinstance(check, dict) else None
            if port is not None and port not in {*pod.ports, *pod.ports.values()}:
                yield f"{name}: {probe}: no port {port}"


def _undefined(text: str, variables: set[str], name: str) -> Iterator[str]:
    for variable in set(re.findall(r"\$\((\w+)\)", text)) - variables:
        yield f"{name}: $({variable}) is not set before it is used"
