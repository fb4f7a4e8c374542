"""Validate against the schemas in schemas/, and refuse unknown keys."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT201909

_FOLDER = Path(__file__).with_name("schemas")
_BASE = "https://luvc.invalid/"
_KINDS = {
    ("apps/v1", "Deployment"): "apps.v1.Deployment",
    ("apps/v1", "StatefulSet"): "apps.v1.StatefulSet",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling.v2.HorizontalPodAutoscaler",
    ("networking.k8s.io/v1", "NetworkPolicy"): "networking.v1.NetworkPolicy",
    ("policy/v1", "PodDisruptionBudget"): "policy.v1.PodDisruptionBudget",
    ("v1", "Namespace"): "core.v1.Namespace",
    ("v1", "Secret"): "core.v1.Secret",
    ("v1", "Service"): "core.v1.Service",
}


def manifest_problems(manifest: dict[str, Any]) -> Iterator[str]:
    """Find problems of one Kubernetes manifest by itself."""
    kind = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if kind == ("ray.io/v1", "RayService"):
        ref = "kuberay.json#/$defs/RayService"
    elif kind in _KINDS:
        ref = f"kubernetes.json#/$defs/io.k8s.api.{_KINDS[kind]}"
    else:
        yield f"{'/'.join(kind)}: no schema for this kind"
        return
    name = manifest.get("metadata", {}).get("name")
    if not name:
        yield f"{kind[1]}: no name"
    yield from _problems(ref, manifest, f"{kind[1]} {name}")


def compose_problems(document: dict[str, Any]) -> Iterator[str]:
    """Find problems of a compose file by itself."""
    yield from _problems("compose.json", document, "compose.yaml")


def _problems(ref: str, document: dict[str, Any], name: str) -> Iterator[str]:
    for error in _validator(ref).iter_errors(document):
        path = "/".join(map(str, error.absolute_path))
        yield f"{name}: {path}: {error.message[:300]}"


@cache
def _validator(ref: str) -> Any:
    return jsonschema.Draft201909Validator({"$ref": _BASE + ref}, registry=_registry())


@cache
def _registry() -> Any:
    resources = []
    for path in _FOLDER.glob("*.json"):
        schema = json.loads(path.read_text())
        schema.pop("id", None)
        resources.append((_BASE + path.name, Resource(schema, DRAFT201909)))
    return Registry().with_resources(resources)
