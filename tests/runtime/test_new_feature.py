"""A feature is one folder and one line: the example of `tests/support/example_feature`, in a copy of Tracker."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPO, START_TIMEOUT_S, STOP_TIMEOUT_S, banner_of, clean_environ, copied, wait_until_answering
from tests.support.scrape import Scrape, scrape, scrape_until

EXAMPLE = "tests.support.example_feature"
SERVE = [sys.executable, "-m", "tracker", "serve", "--port", "0"]

MAX_BYTES = 40
FILED = "tracker_notes_filed_total"


@dataclass
class FeatureServing:
    """A running `tracker serve` that has the feature."""

    client: httpx.Client
    url: str
    at_first: Scrape
    """What it had counted before anybody used it."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a copy of Tracker that has the feature, by one folder and one line."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(REPO / "tracker", folder / "tracker", ignore=shutil.ignore_patterns("docs"))
    (folder / "alembic").symlink_to(REPO / "alembic")
    shutil.copytree(REPO / EXAMPLE.replace(".", "/"), folder / "tracker/features/notes")
    for module in (folder / "tracker/features/notes").glob("*.py"):
        module.write_text(module.read_text(encoding="utf-8").replace(EXAMPLE, "tracker.features.notes"))
    names, before = "NAMES: Final = (", (folder / "tracker/runtime/features.py").read_text(encoding="utf-8")
    assert before.count(names) == 1
    (folder / "tracker/runtime/features.py").write_text(before.replace(names, f'{names}"notes", '), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def served(checkout: Path, server_url: str, template: str) -> Iterator[FeatureServing]:
    for database in copied(server_url, template):
        environ = environ_of(checkout, DATABASE_URL=database.url, TRACKER_NOTES_MAX_BYTES=str(MAX_BYTES))
        with subprocess.Popen(SERVE, env=environ, cwd=checkout, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = banner_of(process, process.stdout)[0].split()[-1]
                with httpx.Client(base_url=url, timeout=30) as client:
                    wait_until_answering(client)
                    yield FeatureServing(client, url, scrape(url))
                process.terminate()
                assert process.wait(STOP_TIMEOUT_S) == 0
            finally:
                process.kill()


def environ_of(checkout: Path, **settings: str) -> dict[str, str]:
    own = {"PYTHONPATH": str(checkout), "TRACKER_DATA_DIR": str(checkout / "data")}
    return {**clean_environ(), **own, **settings}


def test_its_route_answers(served: FeatureServing) -> None:
    answer = served.client.post("/notes", json={"text": "Größe"})
    assert (answer.status_code, answer.json()) == (200, {"size": 7})


@pytest.mark.parametrize(("body", "rule"), [({}, "is required"), ({"text": 1}, "got int"), ({"text": ""}, "is empty")])
def test_its_route_names_the_field_that_breaks_a_rule(
    served: FeatureServing, body: dict[str, object], rule: str
) -> None:
    answer = served.client.post("/notes", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["field"] == "text"
    assert rule in answer.json()["rule"]


def test_its_setting_is_read(served: FeatureServing) -> None:
    assert served.client.post("/notes", json={"text": "x" * MAX_BYTES}).status_code == 200
    answer = served.client.post("/notes", json={"text": "x" * (MAX_BYTES + 1)})
    assert answer.status_code == 400
    assert f"at most {MAX_BYTES} bytes" in answer.json()["rule"]


def test_a_bad_value_of_its_setting_ends_the_start(checkout: Path) -> None:
    environ = environ_of(checkout, TRACKER_NOTES_MAX_BYTES="0")
    done = subprocess.run(
        SERVE, env=environ, cwd=checkout, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False
    )
    assert done.returncode == 1
    assert "TRACKER_NOTES_MAX_BYTES='0' is not valid" in done.stderr


def test_its_job_runs_and_its_metric_shows_that(served: FeatureServing) -> None:
    assert served.at_first.samples[FILED] == {frozenset(): 0}
    before = scrape(served.url).value(FILED)
    assert served.client.post("/notes", json={"text": "one more"}).status_code == 200
    found = scrape_until(served.url, lambda found: found.value(FILED) > before)
    assert found.value("tracker_jobs_ended_total", handler="note", result="done") >= 1


def test_the_document_describes_its_route_with_examples(served: FeatureServing) -> None:
    document = served.client.get("/docs/openapi.json").json()
    operation = document["paths"]["/notes"]["post"]
    assert operation["operationId"] == "leaveNote"
    text = operation["requestBody"]["content"]["application/json"]["example"]["text"]
    assert operation["responses"]["200"]["content"]["application/json"]["example"] == {"size": len(text)}
    assert operation["responses"]["400"]["content"]["application/problem+json"]["example"]["field"] == "text"
    assert {"name": "notes", "description": "What the store's staff should know."} in document["tags"]
