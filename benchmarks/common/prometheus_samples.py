"""Read the metrics that a process of this machine exports for Prometheus."""

import urllib.request
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def scraped(port: int) -> Iterator[Sample]:
    """Return all samples that `/metrics` at a port of this machine tells now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    for family in text_string_to_metric_families(text):
        yield from family.samples
