"""Renew schemas/kubernetes.json: `python -m deploy.check.vendor FOLDER`. Not part of any check.

FOLDER: a strict folder of the package kubernetes-validate, unpacked, such as
kubernetes_validate/kubernetes-json-schema/v1.34.0-local-strict. Kept are the kinds that deploy/
uses and what they refer to; descriptions go, and so does null as a value: a key that stands there
empty is a mistake here.
"""

import json
import sys
from pathlib import Path
from typing import Any

KINDS = (
    "apps.v1.Deployment",
    "apps.v1.StatefulSet",
    "autoscaling.v2.HorizontalPodAutoscaler",
    "core.v1.ConfigMap",
    "core.v1.Namespace",
    "core.v1.PersistentVolumeClaim",
    "core.v1.PodTemplateSpec",
    "core.v1.Secret",
    "core.v1.Service",
    "core.v1.ServiceAccount",
    "networking.v1.IngressTLS",
    "networking.v1.NetworkPolicy",
    "policy.v1.PodDisruptionBudget",
)
TARGET = Path(__file__).parent / "schemas" / "kubernetes.json"


def main() -> int:
    """Write the reduced schema; return the exit status."""
    source = json.loads((Path(sys.argv[1]) / "_definitions.json").read_text())["$defs"]
    kept: dict[str, Any] = {}
    wanted = [f"io.k8s.api.{kind}" for kind in KINDS]
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = _reduced(source[name], wanted)
    about = f"Kubernetes API, from {Path(sys.argv[1]).name} of kubernetes-validate; Apache-2.0"
    text = json.dumps({"$comment": about, "$defs": kept}, separators=(",", ":"), sort_keys=True)
    TARGET.write_text(text + "\n")
    return 0


def _reduced(node: Any, wanted: list[str], names: bool = False) -> Any:
    """Return a node without descriptions, and note what it refers to.

    Args:
        node: of a schema.
        wanted: gets the definitions that the node refers to.
        names: whether the keys are names of properties, one of which may well be `description`.
    """
    if isinstance(node, list):
        return [_reduced(item, wanted) for item in node]
    if not isinstance(node, dict):
        return node
    result = {}
    for key, value in node.items():
        if not names and (key == "description" or key.startswith("x-")):
            continue
        if not names and key == "$ref":
            wanted.append(value.rpartition("/")[2])
        if not names and key == "type" and isinstance(value, list):
            (value,) = [kind for kind in value if kind != "null"]
        result[key] = _reduced(value, wanted, key in ("properties", "$defs") and not names)
    return result


if __name__ == "__main__":
    sys.exit(main())
