"""Check the files of Prometheus and Grafana: known shapes, and queries that can be answered.

There is no published schema for these files. What deploy/ uses of them is listed below, and any
other key is refused.
"""

from collections.abc import Iterator
from typing import Any

from deploy.check.files import DEPLOY, dashboards, documents
from deploy.check.queries import placeholders
from deploy.check.queries import problems as query_problems

Shape = Any
# A dict names all keys that must stand there, a list has one shape for all items, str stands for
# any text that is not empty.
ALERTS: Shape = {
    "groups": [
        {
            "name": str,
            "rules": [
                {
                    "alert": str,
                    "expr": str,
                    "for": str,
                    "labels": {"severity": str},
                    "annotations": {"summary": str},
                }
            ],
        }
    ]
}
PROMETHEUS: Shape = {
    "global": {"scrape_interval": str, "evaluation_interval": str},
    "rule_files": [str],
    "scrape_configs": [{"job_name": str, "static_configs": [{"targets": [str]}]}],
}
ADAPTER: Shape = {
    "rules": {
        "default": bool,
        "custom": [
            {
                "seriesQuery": str,
                "resources": {
                    "overrides": {"namespace": {"resource": str}, "pod": {"resource": str}}
                },
                "name": {"matches": str},
                "metricsQuery": str,
            }
        ],
    }
}
SOURCES: Shape = {
    "apiVersion": int,
    "datasources": [
        {
            "name": str,
            "uid": str,
            "type": str,
            "access": str,
            "url": str,
            "isDefault": bool,
            "jsonData": {"timeInterval": str},
        }
    ],
}
PROVIDERS: Shape = {
    "apiVersion": int,
    "providers": [{"name": str, "folder": str, "type": str, "options": {"path": str}}],
}
DASHBOARD: Shape = {
    "uid": str, "title": str, "tags": [str], "schemaVersion": int, "version": int,
    "editable": bool, "refresh": str, "timezone": str, "time": {"from": str, "to": str},
    "templating": {"list": []}, "annotations": {"list": []},
    "panels": [
        {
            "id": int, "title": str, "description": str, "type": str,
            "datasource": {"type": str, "uid": str},
            "gridPos": {"h": int, "w": int, "x": int, "y": int},
            "fieldConfig": {"defaults": {"unit": str, "min": int}, "overrides": []},
            "options": {},
            "targets": [{"refId": str, "expr": str, "legendFormat": str}],
        }
    ],
}  # fmt: skip
FILES = {
    "prometheus/alerts.yml": ALERTS,
    "prometheus/prometheus.yml": PROMETHEUS,
    "prometheus/adapter.yml": ADAPTER,
    "grafana/provisioning/datasources/prometheus.yaml": SOURCES,
    "grafana/provisioning/dashboards/luvc.yaml": PROVIDERS,
}


def problems(name: str, document: Any) -> Iterator[str]:
    """Find problems of one of FILES, or of a dashboard, by its name."""
    shape = FILES.get(name, DASHBOARD)
    if found := list(_misshapen(shape, document, name)):
        yield from found
        return
    if shape is ALERTS:
        for group in document["groups"]:
            for rule in group["rules"]:
                yield from query_problems(rule["expr"], rule["alert"])
    elif shape is PROMETHEUS:
        for rules in document["rule_files"]:
            if not (DEPLOY / "prometheus" / rules).is_file():
                yield f"{name}: no {rules}"
    elif shape is ADAPTER:
        for rule in document["rules"]["custom"]:
            yield from query_problems(rule["seriesQuery"], name)
    elif shape is DASHBOARD:
        yield from _dashboard_problems(name, document)


def everything() -> dict[str, Any]:
    """Return all documents that `problems` is for, by name."""
    files: dict[str, Any] = {name: documents(DEPLOY / name)[0] for name in FILES}
    return files | dashboards()


def _dashboard_problems(name: str, document: Any) -> Iterator[str]:
    ids = [panel["id"] for panel in document["panels"]]
    if len(set(ids)) < len(ids):
        yield f"{name}: two panels have one id"
    (sources,) = documents(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")
    known = {source["uid"] for source in sources["datasources"]}
    for panel in document["panels"]:
        where = f"{name}: {panel['title']}"
        if panel["datasource"]["uid"] not in known:
            yield f"{where}: no such data source"
        for target in panel["targets"]:
            yield from query_problems(target["expr"], where)
            for label in placeholders(target["legendFormat"]):
                if f"({label})" not in target["expr"] and f", {label})" not in target["expr"]:
                    yield f"{where}: the legend shows {label}, the query does not keep it"


def _misshapen(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if isinstance(shape, dict):
        if not isinstance(value, dict) or value.keys() != shape.keys():
            keys = sorted(map(str, value)) if isinstance(value, dict) else value
            yield f"{path}: has {keys}, and should have {sorted(shape)}"
            return
        for key, inner in shape.items():
            yield from _misshapen(inner, value[key], f"{path}/{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path}: is no list"
            return
        for i, item in enumerate(value):
            yield from _misshapen(shape[0] if shape else None, item, f"{path}/{i}")
    elif shape is None or not isinstance(value, shape) or value == "":
        yield f"{path}: {value!r} should be {getattr(shape, '__name__', 'absent')}"
