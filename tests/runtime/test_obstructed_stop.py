"""Stops that meet something in the way, with real processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.conftest import START_TIMEOUT_S, STOP_TIMEOUT_S, Database, StartTracker, clean_environ, cookie
from tests.support.processes import alive, children
from tests.support.waiting import wait_until
from tracker.postgres.embedded import embedded_postgres


def is_a_worker_that_heeds_sigterm(pid: int) -> bool:
    if b"serve-worker" not in Path(f"/proc/{pid}/cmdline").read_bytes():  # still a copy of its supervisor
        return False
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


@contextlib.contextmanager
def half_sent_request(url: str) -> Iterator[None]:
    """Hold a connection that promises a body and never sends the rest."""
    host, port = url.rpartition("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /item HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # the route has asked for the body
        connection.sendall(b'{"external_id":')
        yield


@contextlib.contextmanager
def in_a_group_of_its_own(*arguments: str, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `tracker serve` as a shell does: as the leader of a process group, which gets the Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker", "serve", "--port", "0", *arguments],
        env={**clean_environ(), **env},
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def test_a_stop_ends_with_every_worker_and_waits_for_no_request_that_never_ends(
    start_tracker: StartTracker, database: Database
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "10000"}
    tracker = start_tracker("--workers", "2", env=env)
    cart_id = str(uuid.uuid4())
    for number in range(30):
        assert tracker.post_item({"external_id": f"sku-{number}"}, cart_id).status_code == 204
    workers = children(tracker.process.pid)
    started = time.monotonic()
    with half_sent_request(tracker.url):
        assert tracker.stop() == 0
        assert not any(alive(pid) for pid in workers)
    assert time.monotonic() - started < 20
    assert len(workers) == 2
    assert len(database.items(cart_id)) == 30


def test_no_transaction_writes_more_items_than_the_maximum(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(
        env={
            "DATABASE_URL": database.url,
            "TRACKER_FLUSH_INTERVAL_MS": "10000",
            "TRACKER_FLUSH_MAX_ITEMS": "10",
        }
    )
    cart_id = str(uuid.uuid4())
    for number in range(45):
        assert tracker.post_item({"external_id": f"sku-{number}"}, cart_id).status_code == 204
    assert tracker.stop() == 0
    written = database.fetch("SELECT count(*) AS count FROM items GROUP BY xmin::text")
    assert sum(row["count"] for row in written) == 45
    assert max(row["count"] for row in written) <= 10


def test_a_ctrl_c_for_the_whole_group_still_stores_everything_in_the_embedded_postgresql(tmp_path: Path) -> None:
    env = {"TRACKER_DATA_DIR": str(tmp_path), "TRACKER_FLUSH_INTERVAL_MS": "10000"}
    cart_id = str(uuid.uuid4())
    with in_a_group_of_its_own(env=env) as (process, url):
        with httpx.Client(base_url=url, timeout=START_TIMEOUT_S, headers=cookie(cart_id)) as client:
            for number in range(20):
                assert client.post("/item", json={"external_id": f"sku-{number}"}).status_code == 204
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(STOP_TIMEOUT_S) == 0
    with embedded_postgres(tmp_path) as stored:
        assert len(Database(stored).items(cart_id)) == 20


def test_a_ctrl_c_for_the_whole_group_while_workers_start_is_a_stop_in_order(
    database: Database, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(tmp_path)}
    with in_a_group_of_its_own("--workers", "2", env=env) as (process, _):
        wait_until(lambda: len(children(process.pid)) == 2)
        wait_until(lambda: all(is_a_worker_that_heeds_sigterm(pid) for pid in children(process.pid)))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(STOP_TIMEOUT_S) == 0
