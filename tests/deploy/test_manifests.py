"""What deploys the services: checked files, and checks that see every changed key."""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve import Application

from decoder_service.app import build
from deploy.check import compose, observability, serve_config
from deploy.check.__main__ import main, set_problems
from deploy.check.files import DEPLOY, OVERLAYS, Invalid, documents, parse
from deploy.check.queries import exported, names_in, problems
from deploy.check.render import render
from deploy.check.schemas import manifest_problems

Path_ = tuple[Any, ...]


@cache
def manifests(overlay: str) -> list[dict[str, Any]]:
    return render(DEPLOY / "k8s" / "overlays" / overlay)


def keys_in(node: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of every key."""
    items: Any = enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, dict):
        items = node.items()
        yield from ((*path, key) for key in node)
    for key, value in items:
        yield from keys_in(value, (*path, key))


def renamed(document: Any, path: Path_) -> Any:
    """Copy a document and spell one key wrongly."""
    changed = copy.deepcopy(document)
    place = changed
    for part in path[:-1]:
        place = place[part]
    place[f"{path[-1]}x"] = place.pop(path[-1])
    return changed


def unseen(document: Any, check: Any, free: set[Path_] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """Keys whose change no check notices."""
    paths = [path for path in keys_in(document) if path not in free]
    assert paths
    return ["/".join(map(str, p)) for p in paths if not list(check(renamed(document, p)))]


def test_everything_in_deploy_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    said = capsys.readouterr().out
    for name in ("cpu-dev", "gpu-prod", "serve.yaml", "compose.yaml", *observability.everything()):
        assert re.search(rf"^ok .*{name}", said, re.MULTILINE), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_key_of_every_manifest_matters(overlay: str) -> None:
    whole = manifests(overlay)
    for i, manifest in enumerate(whole):

        def check(changed: dict[str, Any], i: int = i) -> list[str]:
            alone = list(manifest_problems(changed))
            return alone or set_problems([*whole[:i], changed, *whole[i + 1 :]])

        assert not unseen(manifest, check), manifest["metadata"]["name"]


def test_every_key_of_the_serve_configs_matters() -> None:
    configs = [documents(DEPLOY / "serve.yaml")[0]]
    for overlay in OVERLAYS:
        (service,) = [m for m in manifests(overlay) if m["kind"] == "RayService"]
        configs += parse(service["spec"]["serveConfigV2"], overlay)
    for config in configs:
        assert not unseen(config, lambda changed: serve_config.problems(changed, "config"))
        assert isinstance(build(config["applications"][0]["args"]), Application)


def test_every_key_of_the_compose_file_matters() -> None:
    (stack,) = documents(DEPLOY / "compose.yaml")
    stack = {key: value for key, value in stack.items() if not key.startswith("x-")}
    # Names that nothing else says; one-shot and end points.
    free = {("services", name) for name in ("deploy-decoder", "grafana")}
    assert not unseen(stack, compose.problems, free)


@pytest.mark.parametrize("name", observability.everything())
def test_every_key_of_what_observes_matters(name: str) -> None:
    document = observability.everything()[name]
    assert not unseen(document, lambda changed: observability.problems(name, changed))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rendering_is_what_kubectl_does(overlay: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here")
    folder = DEPLOY / "k8s" / "overlays" / overlay
    run = subprocess.run([kubectl, "kustomize", folder], capture_output=True, check=True, text=True)

    def by_name(found: list[dict[str, Any]]) -> dict[str, Any]:
        return {f"{m['kind']} {m['metadata']['name']}": m for m in found}

    assert by_name(list(yaml.safe_load_all(run.stdout))) == by_name(manifests(overlay))


def test_rendering_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for text in ("resources: []\nnamePrefix: a-", "resources: []\nresources: []"):
        (tmp_path / "kustomization.yaml").write_text(text)
        with pytest.raises((Invalid, ValueError)):
            render(tmp_path)


VALUES: list[tuple[str, str, Any, str]] = [
    ("Deployment luvc-encoder", "spec/template/spec/containers/0/args/0", "--hots=x", "--hots"),
    ("Deployment luvc-encoder", "spec/template/spec/containers/0/args/2", "--decoder=a:1", "not"),
    ("Deployment luvc-encoder", "spec/template/spec/enableServiceLinks", True, "service links"),
    ("Deployment luvc-encoder", "spec/template/spec/terminationGracePeriodSeconds", 60, "killed"),
    ("Deployment luvc-cache", "spec/template/spec/containers/0/args/3", "noeviction", "lru"),
    ("StatefulSet luvc-gcs", "spec/template/spec/containers/0/args/1", "allkeys-lru", "noevict"),
    ("RayService luvc-decoder", "spec/rayClusterDeletionDelaySeconds", 150, "still ask it"),
    ("RayService luvc-decoder", "spec/upgradeStrategy/type", "None", "NewCluster"),
    ("RayService luvc-decoder", "spec/rayClusterConfig/workerGroupSpecs/0/minReplicas", 9, "order"),
    ("RayService luvc-decoder", "spec/serveService/spec/ports/1/port", 9000, "Service"),
    ("Service luvc-encoder", "spec/ports/0/targetPort", "http", "no port"),
    ("HorizontalPodAutoscaler luvc-encoder", "spec/minReplicas", 99, "maxReplicas"),
    ("HorizontalPodAutoscaler luvc-encoder", "spec/minReplicas", None, "not of type"),
]


@pytest.mark.parametrize(("name", "path", "value", "said"), VALUES)
def test_values_that_do_not_fit_are_named(name: str, path: str, value: Any, said: str) -> None:
    changed = copy.deepcopy(manifests("gpu-prod"))
    (place,) = [m for m in changed if f"{m['kind']} {m['metadata']['name']}" == name]
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    for part in parents:
        place = place[part]
    assert place[last] != value
    place[last] = value
    assert said in "\n".join(set_problems(changed))


def test_queries_ask_for_what_is_exported() -> None:
    assert not list(problems("sum by (code) (rate(luvc_requests_total[5m]))", "q"))
    for query in (
        "luvc_requests",
        'luvc_requests_total{user="x"}',
        "sum by (user) (luvc_requests_total)",
        "sum(rate(luvc_requests_total[5m])",
    ):
        assert list(problems(query, "q")), query


def test_every_series_has_its_panel() -> None:
    """What is counted is shown, or alerts."""
    text = json.dumps(observability.everything())
    shown = set(re.findall(r"(?:ray_)?luvc_\w+", text))
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} - {"up"}
    missing = {base for base in bases if not {base, f"{base}_bucket"} & shown}
    # The front door's histograms hold the decoder's times as well.
    assert missing <= {
        "ray_luvc_e2e_request_latency_seconds",
        "ray_luvc_inter_token_latency_seconds",
        "ray_luvc_stage_seconds",
        "ray_luvc_text_tokens_total",
    }
    assert "luvc_requests_total" in names_in("rate(luvc_requests_total[1m])")


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_images_run_the_package_without_root(half: str) -> None:
    text = (DEPLOY / "images" / f"{half}.Dockerfile").read_text()
    final = text.rpartition("\nFROM ")[2]
    assert "COPY --from=build" in final
    assert final.count("COPY") == 1
    assert "\nUSER 10001:10001\n" in final
    assert "\nHEALTHCHECK " in final
