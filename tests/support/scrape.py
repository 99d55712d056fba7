"""Reads /metrics as Prometheus does."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import wait_until

TIMEOUT_S = 30.0


@dataclass
class Scrape:
    """What a scrape got."""

    text: str
    samples: dict[str, dict[frozenset[tuple[str, str]], float]]
    """Values by name and labels."""

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of a name that have these labels, among others."""
        wanted = set(labels.items())
        return sum(value for found, value in self.samples.get(name, {}).items() if wanted <= found)

    def requests(self) -> dict[tuple[str, str, str], float]:
        """Return the answers by method, route and status, those to who looks whether the server is there left out."""
        found = {
            (dict(labels)["method"], dict(labels)["route"], dict(labels)["status"]): value
            for labels, value in self.samples.get("tracker_http_requests_total", {}).items()
        }
        return {line: value for line, value in found.items() if line[1] not in {"/health/live", "/metrics"}}


def parsed(text: str) -> Scrape:
    """Return a scrape of what a server says; each sample stands there once."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            of_name = samples.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in of_name, sample
            of_name[labels] = sample.value
    return Scrape(text, samples)


def scrape(url: str) -> Scrape:
    """Scrape a server, over a connection of its own: any worker may answer."""
    answer = httpx.get(f"{url}/metrics", timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    return parsed(answer.text)


def scrape_until(url: str, is_so: Callable[[Scrape], object]) -> Scrape:
    """Return the first scrape of which something is so."""
    last: list[Scrape] = []

    def is_so_now() -> bool:
        with contextlib.suppress(httpx.TransportError):  # it is about to listen, or the worker was killed
            last[:] = [scrape(url)]
            return bool(is_so(last[0]))
        return False

    wait_until(is_so_now, what=lambda: last[0].text if last else "nobody listens")
    return last[0]
