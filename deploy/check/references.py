"""Check what manifests say of each other: selectors, ports, secrets, labels."""

from collections.abc import Iterator
from typing import Any

from deploy.check.files import walk
from deploy.check.pods import LABELS, Manifest, Pod, pods_of
from deploy.check.queries import exported

# Made by whoever deploys; docs/deploy.md says how. Callers label themselves.
SECRETS = {"luvc-redis": {"cache-password", "gcs-password"}}
CALLERS = {"luvc.dev/client": "true"}
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def reference_problems(manifests: list[Manifest]) -> Iterator[str]:
    """Find references that point at nothing."""
    pods = list(pods_of(manifests))
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        for key in set(manifest["metadata"].get("labels", ())) - LABELS:
            yield f"{name}: nobody reads the label {key}"
        for pod in pods:
            for key in set(pod.labels) - LABELS:
                yield f"{name}: nobody reads the label {key}"
        yield from _selector_problems(manifest, name, pods)
        yield from _secret_problems(manifest, name)
        if manifest["kind"] == "Service":
            yield from _service_problems(manifest, name, pods)
        if manifest["kind"] == "NetworkPolicy":
            yield from _policy_problems(manifest, name, pods)
        if manifest["kind"] == "HorizontalPodAutoscaler":
            yield from _scaling_problems(manifest, name, manifests)


def selected(labels: Any, pods: list[Pod]) -> list[Pod]:
    """Return the pods that have all of the labels."""
    return [pod for pod in pods if dict(labels).items() <= pod.labels.items()]


def _selector_problems(manifest: Manifest, name: str, pods: list[Pod]) -> Iterator[str]:
    for path, node in walk(manifest):
        if not isinstance(node, dict) or "matchLabels" not in node:
            continue
        labels = node["matchLabels"]
        if path.endswith("/namespaceSelector"):
            if set(labels) != {NAMESPACE_LABEL}:
                yield f"{name}: {path}: namespaces are known by {NAMESPACE_LABEL} only"
        elif labels != CALLERS and not selected(labels, pods):
            yield f"{name}: {path}: selects no pod"


def _secret_problems(manifest: Manifest, name: str) -> Iterator[str]:
    if manifest["kind"] == "Secret":
        made = {manifest["metadata"]["name"]: set(manifest.get("stringData", ()))}
        if made != SECRETS:
            yield f"{name}: holds {made}, not {SECRETS}"
    for path, node in walk(manifest):
        if path.endswith("/secretKeyRef") and node["key"] not in SECRETS.get(node["name"], ()):
            yield f"{name}: {path}: no such secret"


def _service_problems(manifest: Manifest, name: str, pods: list[Pod]) -> Iterator[str]:
    spec = manifest["spec"]
    found = selected(spec.get("selector", {}), pods) if spec.get("selector") else []
    if not found:
        yield f"{name}: selects no pod"
    for port in spec["ports"]:
        target = port.get("targetPort", port["port"])
        if not all(target in {*pod.ports, *pod.ports.values()} for pod in found):
            yield f"{name}: its pods have no port {target}"


def _policy_problems(manifest: Manifest, name: str, pods: list[Pod]) -> Iterator[str]:
    spec = manifest["spec"]
    if spec["podSelector"] and "matchLabels" not in spec["podSelector"]:
        yield f"{name}: podSelector is not understood"
    if "policyTypes" not in spec:
        yield f"{name}: no policyTypes"
    targets = selected(spec["podSelector"].get("matchLabels", {}), pods)
    ports = {p for pod in targets for p in (*pod.ports, *pod.ports.values())}
    for rule in spec.get("ingress", ()):
        for port in rule.get("ports", ()):
            if port["port"] not in ports:
                yield f"{name}: its pods have no port {port['port']}"


def _scaling_problems(manifest: Manifest, name: str, manifests: list[Manifest]) -> Iterator[str]:
    target = manifest["spec"]["scaleTargetRef"]
    names = {(m["apiVersion"], m["kind"], m["metadata"]["name"]) for m in manifests}
    if (target.get("apiVersion"), target["kind"], target["name"]) not in names:
        yield f"{name}: scales nothing that is here"
    if manifest["spec"].get("minReplicas", 1) > manifest["spec"]["maxReplicas"]:
        yield f"{name}: minReplicas over maxReplicas"
    for metric in manifest["spec"]["metrics"]:
        wanted = metric.get("pods", {}).get("metric", {}).get("name")
        if metric["type"] == "Pods" and wanted not in exported():
            yield f"{name}: no service exports {wanted}"
