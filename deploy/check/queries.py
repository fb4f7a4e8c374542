"""Check PromQL: parsed by a real parser, and every metric and label in it is exported."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import promql_parser
from prometheus_client import Counter, Histogram

import decoder_service.metrics
import encoder_service.metrics

# Set by Prometheus, by Kubernetes discovery, or by Ray.
_TARGET = {"job", "instance", "namespace", "pod"}
_RAY = {"deployment", "replica", "application"}
_PARTS = ("expr", "lhs", "rhs", "args", "vector_selector", "param")


@cache
def exported() -> Mapping[str, set[str]]:
    """Return the labels of every series that the services export, by its name."""
    series: dict[str, set[str]] = {"up": set(_TARGET)}
    collectors = encoder_service.metrics.Metrics().registry
    for family in collectors.collect():
        labels = _TARGET | {name for sample in family.samples for name in sample.labels}
        _add(series, family.name, family.type, labels)
    for metric in vars(encoder_service.metrics.Metrics()).values():
        if isinstance(labels := getattr(metric, "_labelnames", None), tuple):
            kind = "counter" if isinstance(metric, Counter) else "gauge"
            kind = "histogram" if isinstance(metric, Histogram) else kind
            _add(series, metric.describe()[0].name, kind, _TARGET | set(labels))
    for ray in decoder_service.metrics.Metrics().all:
        # Serve's classes are named as their kinds.
        kind, about = type(ray).__name__.lower(), ray.info
        labels = _TARGET | _RAY | set(about["tag_keys"])
        _add(series, f"ray_{about['name']}", kind, labels)
    return series


def _add(series: dict[str, set[str]], name: str, kind: str, labels: set[str]) -> None:
    match kind:
        case "counter":
            series[f"{name}_total"] = labels
        case "histogram":
            series[f"{name}_bucket"] = labels | {"le"}
            series[f"{name}_count"] = series[f"{name}_sum"] = labels
        case _:
            series[name] = labels


def plain(query: str) -> str:
    """Return a query as Grafana sends it."""
    return query.replace("$__rate_interval", "1m")


def problems(query: str, name: str) -> Iterator[str]:
    """Find problems of a query, Grafana's $__rate_interval included."""
    try:
        tree = promql_parser.parse(plain(query))
    except ValueError as error:
        yield f"{name}: {error}"
        return
    known: set[str] = set()
    for node in _nodes(tree):
        if isinstance(node, promql_parser.VectorSelector):
            if node.name not in exported():
                yield f"{name}: no service exports {node.name}"
                continue
            labels = exported()[node.name]
            known |= labels
            for matcher in node.matchers.matchers:
                if matcher.name not in labels:
                    yield f"{name}: {node.name} has no label {matcher.name}"
    for node in _nodes(tree):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            for label in set(node.modifier.labels) - known:
                yield f"{name}: no metric here has the label {label}"


def names_in(query: str) -> set[str]:
    """Return the metrics that a query asks for."""
    tree = promql_parser.parse(plain(query))
    return {n.name for n in _nodes(tree) if isinstance(n, promql_parser.VectorSelector)}


def placeholders(legend: str) -> set[str]:
    """Return the labels that a legend shows."""
    return set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))


def _nodes(tree: Any) -> Iterator[Any]:
    yield tree
    for part in _PARTS:
        value = getattr(tree, part, None)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, promql_parser.Expr) or child.__class__.__name__.endswith(
                ("Expr", "Selector", "Call")
            ):
                yield from _nodes(child)
