"""Render the part of kustomize that deploy/k8s uses: resources, namespace, images, JSON patches.

What it does not know it refuses, so that nothing is left out silently. A test compares it with
`kubectl kustomize`, where there is one.
"""

import copy
from pathlib import Path
from typing import Any

from deploy.check.files import Invalid, documents, walk

Manifest = dict[str, Any]
_KNOWN = {"apiVersion", "kind", "namespace", "resources", "images", "patches"}
_NO_NAMESPACE = {"Namespace"}


def render(folder: Path) -> list[Manifest]:
    """Return the manifests of a folder with a kustomization.yaml. Raises Invalid."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    _only(kustomization, _KNOWN, folder.name)
    manifests: list[Manifest] = []
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        manifests += render(path) if path.is_dir() else copy.deepcopy(documents(path))
    for manifest in manifests:
        if "namespace" in kustomization and manifest["kind"] not in _NO_NAMESPACE:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
    for patch in kustomization.get("patches", ()):
        _patch(manifests, patch, folder)
    for image in kustomization.get("images", ()):
        _only(image, {"name", "newName", "newTag"}, f"{folder.name}: images")
        _rename(manifests, image)
    return manifests


def _only(found: Manifest, known: set[str], where: str) -> None:
    if unknown := found.keys() - known:
        raise Invalid(f"{where}: not known here: {', '.join(sorted(unknown))}")


def _patch(manifests: list[Manifest], patch: Manifest, folder: Path) -> None:
    _only(patch, {"path", "target"}, f"{folder.name}: patches")
    target = patch["target"]
    _only(target, {"kind", "name"}, f"{folder.name}: {patch['path']}: target")
    hit = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == tuple(target.values())]
    if len(hit) != 1:
        raise Invalid(f"{folder.name}: {patch['path']}: {len(hit)} manifests are {target}")
    (operations,) = documents(folder / patch["path"])
    for operation in operations:
        _only(operation, {"op", "path", "value"}, f"{folder.name}: {patch['path']}")
        _apply(hit[0], operation, f"{folder.name}: {patch['path']}")


def _apply(manifest: Manifest, operation: Manifest, where: str) -> None:
    """Apply add or replace of RFC 6902.

    What is replaced must be there, and so must its parent.
    """
    *parents, last = [
        part.replace("~1", "/").replace("~0", "~") for part in operation["path"][1:].split("/")
    ]
    parent: Any = manifest
    try:
        for part in parents:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        value = copy.deepcopy(operation["value"])
        match operation["op"], parent:
            case "add", list() if last == "-":
                parent.append(value)
            case "add", list():
                parent.insert(int(last), value)
            case "add", dict():
                parent[last] = value
            case "replace", list():
                parent[int(last)] = value
            case "replace", dict() if last in parent:
                parent[last] = value
            case _:
                raise KeyError(last)
    except (KeyError, IndexError, ValueError, TypeError):
        raise Invalid(f"{where}: cannot {operation['op']} {operation['path']}") from None


def _rename(manifests: list[Manifest], image: Manifest) -> None:
    for manifest in manifests:
        for _, node in walk(manifest):
            if isinstance(node, dict) and node.get("image") == image["name"]:
                node["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
