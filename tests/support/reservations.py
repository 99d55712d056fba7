"""The stand-in for the reservation service as a process of its own, and what tests ask of reservations."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.conftest import REPO, Database, clean_environ
from tests.support.forked import Forked, forked
from tests.support.ports import free_port
from tests.support.reservation_service import Behavior, Calls
from tests.support.waiting import wait_until


@dataclass
class Service:
    """A running stand-in."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/reserve"

    def calls(self) -> Calls:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/calls", timeout=10)
        return msgspec.json.decode(answer.content, type=Calls)

    def behave(self, **fields: Any) -> None:  # noqa: ANN401  # those of Behavior
        body = msgspec.json.encode(Behavior(**fields))
        httpx.put(f"http://127.0.0.1:{self.port}/behavior", content=body, timeout=10).raise_for_status()


@contextlib.contextmanager
def reservation_service(port: int | None = None, *, delay_s: float = 0.0, fail_rate: float = 0.0) -> Iterator[Service]:
    """Run the stand-in; it is killed at the end of the block."""
    port = port or free_port()
    numbers = ["--port", str(port), "--delay", str(delay_s), "--fail-rate", str(fail_rate)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.reservation_service", *numbers], env=clean_environ(), cwd=REPO
    )
    service = Service(process, port)
    try:
        wait_until(lambda: _answers(service))
        yield service
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def worker(env: Mapping[str, str], folder: Path, *arguments: str) -> Iterator[Forked]:
    """Run `tracker worker`; it is killed at the end of the block if it has not ended."""
    environ = {**clean_environ(), "TRACKER_DATA_DIR": str(folder), **env}
    process, stdout = forked("worker", *arguments, env=environ, cwd=REPO)
    with stdout:
        try:
            assert stdout.readline()
            yield process
        finally:
            process.kill()
            process.wait()


def _answers(service: Service) -> bool:
    try:
        service.calls()
    except httpx.TransportError:
        return False
    return True


def statuses(database: Database) -> dict[str, str]:
    """Return the status of each reservation by external id."""
    rows = database.fetch("SELECT external_id, status FROM reservations")
    return {row["external_id"]: row["status"] for row in rows}


def jobs(database: Database) -> int:
    """Return how many reservations the queue holds."""
    count: int = database.fetch("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'reserve'")[0]["count"]
    return count
