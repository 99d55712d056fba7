"""What a process loads: no more than it needs, from nothing as users start it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.conftest import STOP_TIMEOUT_S, Database, clean_environ
from tests.support.processes import children
from tests.support.waiting import wait_until

TRACKER: Final = [sys.executable, "-m", "tracker"]

OF_THE_APPLICATION: Final = {"multidict", "uvloop"}
"""Compiled, so that the kernel knows who has them: of Litestar, and the event loop."""

OF_THE_JOBS: Final = {"obstore", "pydantic_core"}
"""Compiled too: of the archive, and of the queue's library."""


@dataclass
class Supervisor:
    """A `tracker serve` with two workers."""

    pid: int
    port: str


@pytest.fixture(scope="module")
def supervisor(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    folder = tmp_path_factory.mktemp("tracker")
    own = {"DATABASE_URL": shared_database.url, "TRACKER_DATA_DIR": str(folder), "TRACKER_JOBS": "off"}
    command = [*TRACKER, "serve", "--port", "0", "--workers", "2"]
    with subprocess.Popen(command, env={**clean_environ(), **own}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Supervisor(process.pid, process.stdout.readline().rstrip().rpartition(":")[2])
            process.terminate()
            assert process.wait(STOP_TIMEOUT_S) == 0
        finally:
            process.kill()


def compiled(pid: int) -> set[str]:
    """Return the packages of which a process has loaded compiled modules."""
    return set(re.findall(r"/site-packages/(\w+)", Path(f"/proc/{pid}/maps").read_text()))


def test_a_supervisor_loads_nothing_of_the_application(supervisor: Supervisor) -> None:
    def both_workers_have_it() -> bool:
        found = [compiled(worker) >= OF_THE_APPLICATION for worker in children(supervisor.pid)]
        return found == [True, True]

    wait_until(both_workers_have_it)
    assert "sqlalchemy" in compiled(supervisor.pid)
    assert not (OF_THE_APPLICATION | OF_THE_JOBS) & compiled(supervisor.pid)


def test_a_worker_without_jobs_does_not_load_their_queue(supervisor: Supervisor) -> None:
    wait_until(lambda: all(compiled(worker) >= OF_THE_APPLICATION for worker in children(supervisor.pid)))
    answer = httpx.get(f"http://127.0.0.1:{supervisor.port}/health/ready", timeout=30)
    assert answer.status_code == 200
    for worker in children(supervisor.pid):
        assert not OF_THE_JOBS & compiled(worker)


SERVES: Final = """
import sys
from pathlib import Path
import tracker.cli.registry, tracker.telemetry.logs, tracker.cli.serve
from tracker.runtime.application import create_app
from tracker.ingest.worker_folders import claim_folder
from tracker.runtime.context import Context
from tracker.runtime.features import load_settings
from tracker.telemetry.request_counts import RequestCounts
with claim_folder(Path(sys.argv[1]), 0) as folder:
    create_app(Context(load_settings({}), url="postgresql://127.0.0.1:1/none", folder=folder), RequestCounts())
print(*sys.modules)
"""


def test_what_serves_loads_no_migrations_and_no_other_models_than_it_has(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert loaded >= {"litestar", "sqlalchemy.ext.asyncio", "structlog"}
    assert not loaded & {"alembic", "attr", "httpx", "joserfc", "opentelemetry.sdk"}
    assert not loaded & {"pgqueuer", "pydantic", "rich", "stripe"}


def test_the_health_check_loads_nothing_of_the_application_and_no_log(supervisor: Supervisor) -> None:
    def ask() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "importtime", *TRACKER[1:], "health", "--port", supervisor.port]
        return subprocess.run(command, env=clean_environ(), capture_output=True, text=True, check=False, timeout=60)

    wait_until(lambda: ask().returncode == 0)
    done = ask()
    assert done.stdout == '{"status":"ready"}\n'
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert loaded >= {"click", "http", "msgspec", "tracker"}
    assert not loaded & {"alembic", "asyncio", "asyncpg", "litestar", "pgqueuer", "sqlalchemy", "structlog", "uvicorn"}


LOADS_AT_ONCE: Final = """
import asyncio
from tracker.jobs.library import load_consumer, load_queries
async def main():
    await asyncio.gather(load_queries(), load_consumer(), load_queries())
asyncio.run(main())
"""


def test_the_queue_is_loaded_by_one_thread_at_a_time() -> None:
    subprocess.run([sys.executable, "-c", LOADS_AT_ONCE], check=True, timeout=60)


IS_LOADING: Final = """
import gc
from tracker.kit.loading import loading
with loading():
    assert not gc.isenabled()
assert gc.isenabled()
assert gc.get_freeze_count() > 1000
"""


def test_garbage_is_collected_again_once_everything_is_loaded() -> None:
    subprocess.run([sys.executable, "-c", IS_LOADING], check=True, timeout=60)
