"""The dashboard and the alert rules name metrics, labels and values that a scrape really has."""

import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import Database, starter
from tests.metrics.test_metrics_endpoint import CART, send_raw
from tests.support.oidc import Provider
from tests.support.reservations import reservation_service
from tests.support.scrape import Scrape, scrape_until
from tests.support.shopper import new_shopper, sell
from tracker.runtime.metric_sources import families_by_name

ADDED_BY_PROMETHEUS = {"instance"}
"""Labels of every series that it scrapes."""

FIXED = {"reason", "result", "state", "handler", "route", "method"}
"""Labels whose values are all there from the beginning, or as soon as there are any jobs."""


class Expression(NamedTuple):
    """A PromQL expression, and where it stands."""

    where: str
    promql: str
    legend: str = ""

    def selectors(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """Return each metric with its matchers: label, operator, value."""
        found = re.findall(r"(tracker_[a-z0-9_]+)(?:\{([^}]*)\})?", self.promql)
        return [(name, re.findall(r'([a-z_]+)\s*(=~|!=|!~|=)\s*"([^"]*)"', matchers)) for name, matchers in found]

    def grouped(self) -> set[str]:
        """Return the labels that are left of the result."""
        return {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", self.promql) for label in labels.split(",")}


def document(name: str) -> str:
    return (resources.files("tracker") / "docs" / name).read_text(encoding="utf-8")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document("grafana-dashboard.json"))
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(document("alerts.yml"))["groups"] for rule in group["rules"]]


def expressions() -> list[Expression]:
    found = [
        Expression(panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]
    found += [Expression("annotation", entry["expr"]) for entry in dashboard()["annotations"]["list"]]
    return found + [Expression(rule["alert"], rule["expr"]) for rule in rules()]


@pytest.fixture(scope="module")
def seen(shared_database: Database, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrape]:
    """What a server shows that everything has happened to once."""
    sell(shared_database, "mug")
    with reservation_service() as service:
        env = {
            "DATABASE_URL": shared_database.url,
            "TRACKER_RESERVATION_URL": service.url,
            "TRACKER_PAYMENT": "sandbox",
            **provider.env(),
        }
        for start in starter(tmp_path_factory.mktemp("docs")):
            tracker = start(env=env)
            tracker.post_item({"external_id": "a"}, CART)
            for path in ("/items", "/api/v1/items"):
                tracker.client.post(path, json={"product_id": "a", "cart_id": CART})
            send_raw(tracker.url, b"nonsense\r\n\r\n")
            anna = new_shopper(tracker, provider)
            assert anna.check_out(anna.cart_with(mug=1)).status_code == 200
            yield scrape_until(
                tracker.url,
                lambda found: (
                    found.value("tracker_jobs", handler="settle")
                    and found.value("tracker_reservation_attempts_total", result="granted")
                ),
            )
    shared_database.fetch("DELETE FROM products")


def labels_of(seen: Scrape, name: str) -> set[str]:
    return {label for labels in seen.samples[name] for label, _ in labels}


@pytest.mark.parametrize("expression", expressions(), ids=lambda expression: f"{expression.where}: {expression.promql}")
def test_an_expression_names_what_a_scrape_has(seen: Scrape, expression: Expression) -> None:
    selectors = expression.selectors()
    assert selectors
    known = set(ADDED_BY_PROMETHEUS)
    for name, matchers in selectors:
        assert name in seen.samples
        labels = labels_of(seen, name) | ADDED_BY_PROMETHEUS
        known |= labels
        for label, operator, value in matchers:
            assert label in labels, f"{name} has no label {label}"
            if label in FIXED and operator in {"=", "=~"}:
                values = {dict(found)[label] for found in seen.samples[name]}
                assert set(value.split("|")) <= values, f"{label} of {name} is one of {values}"
    assert expression.grouped() <= known
    assert set(re.findall(r"{{(\w+)}}", expression.legend)) <= expression.grouped()


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    used = {
        re.sub(r"_(bucket|sum|count)$", "", name) if name not in families_by_name() else name
        for expression in expressions()
        for name, _ in expression.selectors()
    }
    assert used == set(families_by_name())


def test_every_family_is_there_from_the_first_scrape(seen: Scrape) -> None:
    assert set(re.findall(r"^# TYPE (\w+)", seen.text, re.MULTILINE)) == set(families_by_name())


def test_the_guide_explains_every_alert_and_names_only_metrics_that_exist() -> None:
    guide = document("operations.md")
    assert set(re.findall(r"`(Tracker[A-Z]\w+)`", guide)) == {rule["alert"] for rule in rules()}
    assert set(re.findall(r"`(tracker_[a-z_]+)", guide)) <= set(families_by_name())


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 40
        referred = re.findall(r"see (Tracker\w+)", rule["annotations"]["description"], re.IGNORECASE)
        assert set(referred) <= set(names)


def test_the_dashboard_can_be_imported_with_any_data_source() -> None:
    found = dashboard()
    assert found["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids)) >= 12
    for panel in found["panels"]:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_the_panels_of_the_dashboard_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
