"""Ask Prometheus what the dashboards and the alerts ask."""

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from deploy.check.files import dashboards
from deploy.check.observability import everything
from deploy.check.queries import names_in, plain


@dataclass(frozen=True)
class Answer:
    """The answer to one query.

    Attributes:
        where: panel or alert.
        series: how many came back with a number.
        example: one of the numbers.
    """

    where: str
    query: str
    series: int
    example: float | None


def questions() -> Iterator[tuple[str, str]]:
    """Yield where a query stands, and what to ask.

    Of a panel this is each query; of an alert, whose expression is meant to be empty, each metric
    that it looks at.
    """
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{name.removesuffix('.json')}: {panel['title']}", plain(target["expr"])
    for group in everything()["prometheus/alerts.yml"]["groups"]:
        for rule in group["rules"]:
            for metric in sorted(names_in(rule["expr"])):
                yield f"alert {rule['alert']}", metric


def ask(prometheus: str, where: str, query: str) -> Answer:
    """Ask one query.

    Args:
        prometheus: HOST:PORT.
        where: panel or alert.
        query: in PromQL.

    Raises:
        OSError: where Prometheus does not answer, or refuses the query.
    """
    text = urllib.parse.urlencode({"query": query})
    url = f"http://{prometheus}/api/v1/query?{text}"
    with urllib.request.urlopen(url, timeout=10) as response:
        result = json.load(response)["data"]["result"]
    values = [value for one in result if not math.isnan(value := float(one["value"][1]))]
    return Answer(where, query, len(values), values[0] if values else None)


def ask_all(prometheus: str) -> list[Answer]:
    """Ask all queries, in the order of the files."""
    return [ask(prometheus, where, query) for where, query in questions()]
