"""Starting, stopping and what happens while PostgreSQL is away, with real processes."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import trustme

from tests.conftest import REPO, Database, StartTracker, cart_of, clean_environ, run_tracker
from tests.support.forked import forked
from tests.support.processes import alive, children
from tests.support.waiting import wait_until


class Outage:
    """Shuts everybody out of one database, as a stopped PostgreSQL would."""

    def __init__(self, server_url: str, database: Database) -> None:
        self._server = Database(server_url)
        self._name = database.fetch("SELECT current_database() AS name")[0]["name"]

    def begin(self) -> None:
        self._server.fetch(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS false')
        self._server.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self._name)

    def end(self) -> None:
        self._server.fetch(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS true')


@pytest.fixture
def outage(server_url: str, database: Database) -> Iterator[Outage]:
    outage = Outage(server_url, database)
    yield outage
    outage.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_stores_what_was_accepted_and_exits_with_0(
    start_tracker: StartTracker, database: Database, number: signal.Signals
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "2000"})
    cart_id = str(uuid.uuid4())
    for n in range(50):
        assert tracker.post_item({"external_id": f"sku-{n}"}, cart_id).status_code == 204
    assert tracker.stop(number) == 0
    assert len(database.items(cart_id)) == 50


def catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & 1 << number - 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_first_moments_is_heeded(tmp_path: Path, number: signal.Signals) -> None:
    def begin() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as process 1 does
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background of a shell ignores it

    for delay_s in (0, 0.2, 0.5):
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "serve", "--port", "0"],
            env={**clean_environ(), "TRACKER_DATA_DIR": str(tmp_path)},
            stdout=subprocess.DEVNULL,
            preexec_fn=begin,  # noqa: PLW1509  # pytest runs one thread here
        )
        # On a busy machine the interpreter itself takes longer than any delay.
        wait_until(partial(catches, process.pid, signal.SIGTERM))
        time.sleep(delay_s)
        process.send_signal(number)
        assert process.wait(60) in {0, 128 + number, -signal.SIGINT}


@pytest.mark.parametrize("written", ["PG_VERSION", "global/pg_control", "base/1/PG_VERSION"])
def test_a_start_follows_one_that_was_killed_while_it_made_its_postgresql(
    start_tracker: StartTracker, tmp_path: Path, written: str
) -> None:
    env = {**clean_environ(), "TRACKER_DATA_DIR": str(tmp_path)}
    process, stdout = forked("serve", "--port", "0", env=env, cwd=REPO)
    with stdout:
        wait_until((tmp_path / "postgres" / "cluster.new" / written).exists)
        process.kill()
        process.wait(30)
    tracker = start_tracker()
    assert tracker.post_item({"external_id": "a"}).status_code == 204


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_that_must_leave_items_behind_says_so_and_fails(
    start_tracker: StartTracker, database: Database, outage: Outage, workers: str
) -> None:
    tracker = start_tracker("--workers", workers, env={"DATABASE_URL": database.url, "TRACKER_ACK": "memory"})
    outage.begin()
    assert tracker.post_item({"external_id": "a"}).status_code == 204
    assert tracker.stop() == 1


def test_an_outage_loses_nothing_and_recovers_by_itself(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    cart_id = cart_of(tracker.post_item({"external_id": "before"}))
    database.wait_for_items(cart_id)
    outage.begin()
    for n in range(100):
        assert tracker.post_item({"external_id": f"sku-{n}"}, cart_id).status_code == 204
    answer = tracker.client.get("/items", params={"cart_id": cart_id})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert tracker.client.get("/health/live").status_code == 200
    assert tracker.client.get("/health/ready").status_code == 200
    outage.end()
    assert len(database.wait_for_items(cart_id, 101)) == 101
    assert len(tracker.get_items(cart_id)) == 101


def test_a_full_buffer_is_503_until_postgresql_is_back(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_BUFFER_MAX_MB": "1"})
    outage.begin()
    cart_id, accepted = str(uuid.uuid4()), []
    for n in range(5000):
        answer = tracker.post_item({"external_id": f"sku-{n}", "name": "x" * 2000}, cart_id)
        if answer.status_code == 503:
            break
        assert answer.status_code == 204
        accepted.append(f"sku-{n}")
    assert 300 < len(accepted) < 1000
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert tracker.client.get("/health/ready").status_code == 503
    assert tracker.client.get("/health/live").status_code == 200
    outage.end()
    wait_until(lambda: tracker.client.get("/health/ready").status_code == 200)
    assert tracker.post_item({"external_id": "after"}, cart_id).status_code == 204
    assert set(database.wait_for_items(cart_id, len(accepted) + 1)) == {*accepted, "after"}


def test_at_level_commit_the_answer_comes_after_the_commit(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_ACK": "commit"})
    for n in range(20):
        cart_id = cart_of(tracker.post_item({"external_id": f"sku-{n}"}))
        assert set(database.items(cart_id)) == {f"sku-{n}"}


def test_at_level_commit_an_outage_is_503_and_the_item_is_stored_later(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    tracker = start_tracker(
        env={"DATABASE_URL": database.url, "TRACKER_ACK": "commit", "TRACKER_COMMIT_TIMEOUT_S": "0.2"}
    )
    outage.begin()
    answer = tracker.post_item({"external_id": "a"})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    cart_id = cart_of(answer)  # a retry must find the same cart
    assert cart_of(tracker.post_items({"product_id": "b"}, cart_id)) == cart_id
    outage.end()
    assert set(database.wait_for_items(cart_id, 2)) == {"a", "b"}


def test_at_level_commit_a_stop_answers_those_who_wait_with_503(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_ACK": "commit", "TRACKER_COMMIT_TIMEOUT_S": "60"}
    tracker = start_tracker(env=env)
    outage.begin()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(tracker.post_item, {"external_id": "a"})
        time.sleep(1)
        tracker.process.send_signal(signal.SIGTERM)
        answer = waiting.result(30)
    assert answer.status_code == 503
    assert cart_of(answer)


def test_several_workers_serve_one_address_and_stop_with_0(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker("--workers", "2", env={"DATABASE_URL": database.url})
    cart_id = str(uuid.uuid4())
    for n in range(100):
        tracker.client.close()
        tracker.__post_init__()
        assert tracker.post_item({"external_id": f"sku-{n % 10}", "quantity": n}, cart_id).status_code == 204
    wait_until(lambda: {row["quantity"] for row in database.items(cart_id).values()} == set(range(90, 100)))

    def both_have_written() -> bool:
        tracker.client.close()
        tracker.__post_init__()
        tracker.post_item({"external_id": str(uuid.uuid4())}, cart_id)
        return {row["added_stamp"] & 1 for row in database.items(cart_id).values()} == {0, 1}

    wait_until(both_have_written)
    assert tracker.stop() == 0


def test_a_worker_that_dies_is_replaced(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker("--workers", "2", env={"DATABASE_URL": database.url})
    wait_until(lambda: len(children(tracker.process.pid)) == 2)
    victims = children(tracker.process.pid)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    tracker.client.close()
    tracker.__post_init__()
    assert tracker.post_item({"external_id": "a"}).status_code == 204  # waits in the socket until one is there
    assert not set(victims) & set(children(tracker.process.pid))
    assert tracker.stop() == 0


def test_no_worker_outlives_a_killed_supervisor(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker("--workers", "2", env={"DATABASE_URL": database.url})
    wait_until(lambda: len(children(tracker.process.pid)) == 2)
    workers = children(tracker.process.pid)
    tracker.stop(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in workers))


def test_the_embedded_postgresql_keeps_its_data_and_dies_with_tracker(
    start_tracker: StartTracker, tmp_path: Path
) -> None:
    first = start_tracker()
    assert "embedded PostgreSQL" in "\n".join(first.banner)
    cart_id = first.post_items({"product_id": "a", "name": "Mug"}).json()["cart_id"]
    assert first.stop() == 0

    second = start_tracker()
    assert [item["name"] for item in second.get_items(cart_id)] == ["Mug"]
    second.post_items({"product_id": "b"}, cart_id)
    servers = children(second.process.pid)
    assert servers
    stored = Database(f"postgresql://tracker@/postgres?host={tmp_path}/postgres/run")
    wait_until(lambda: len(stored.items(cart_id)) == 2)
    second.stop(signal.SIGKILL)

    third = start_tracker()  # at once, while the server of the killed one may still be stopping
    assert [item["product_id"] for item in third.get_items(cart_id)] == ["a", "b"]
    assert not any(alive(pid) for pid in servers)


def test_a_second_service_on_one_data_folder_is_refused(start_tracker: StartTracker, tmp_path: Path) -> None:
    start_tracker()
    done = run_tracker("serve", "--port", "0", env={"TRACKER_DATA_DIR": str(tmp_path)})
    assert done.returncode == 1
    assert "another Tracker already runs" in done.stderr


def test_tracker_stops_when_its_embedded_postgresql_does(start_tracker: StartTracker) -> None:
    tracker = start_tracker()
    (server,) = children(tracker.process.pid)
    os.kill(server, signal.SIGKILL)
    assert tracker.process.wait(30) == 0


def test_a_data_folder_may_have_any_characters_but_a_comma(start_tracker: StartTracker, tmp_path: Path) -> None:
    odd = tmp_path / "a+b %26 & ä"
    tracker = start_tracker(env={"TRACKER_DATA_DIR": str(odd)})
    assert tracker.post_item({"external_id": "a"}).status_code == 204


def test_a_stop_does_not_wait_for_a_postgresql_that_hangs(start_tracker: StartTracker) -> None:
    tracker = start_tracker()
    tracker.get_items(cart_of(tracker.post_item({"external_id": "a"})))
    (server,) = children(tracker.process.pid)
    frozen = [server, *children(server)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    tracker.process.send_signal(signal.SIGTERM)
    try:
        tracker.process.wait(60)
    finally:
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - started < 30


def test_a_second_ctrl_c_does_not_cut_the_last_flush_short(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "10000"})
    cart_id = cart_of(tracker.post_item({"external_id": "a"}))
    tracker.process.send_signal(signal.SIGINT)
    assert tracker.stop(signal.SIGINT) == 0
    assert set(database.items(cart_id)) == {"a"}


def test_a_second_process_joins_the_running_embedded_postgresql(start_tracker: StartTracker, tmp_path: Path) -> None:
    tracker = start_tracker()
    done = run_tracker("migrate", env={"TRACKER_DATA_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert tracker.post_item({"external_id": "a"}).status_code == 204


def test_over_https_the_cookie_is_for_third_party_pages(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_TLS_CERT": str(certificate)}, verify=context)
    assert tracker.url.startswith("https://")
    answer = tracker.post_item({"external_id": "a"})
    assert answer.headers["set-cookie"].endswith("; HttpOnly; Secure; SameSite=None; Partitioned")


def test_a_stranger_cannot_claim_to_be_https(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_TRUSTED_PROXIES": "10.0.0.0/8"})
    answer = tracker.client.post("/item", json={"external_id": "a"}, headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["set-cookie"].endswith("; SameSite=Lax")


def test_a_taken_port_is_told_in_one_line(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    port = tracker.url.rpartition(":")[2]
    done = run_tracker("serve", "--port", port, env={"DATABASE_URL": database.url})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert port in done.stderr


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"TRACKER_FLUSH_INTERVAL_MS": "soon"}, "TRACKER_FLUSH_INTERVAL_MS"),
        ({"TRACKER_ACK": "never"}, "TRACKER_ACK"),
        ({"DATABASE_URL": "mysql://h/d"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/d"}, "127.0.0.1:1"),
        ({"DATABASE_URL": "postgresql://u:secret@127.0.0.1:notaport/d"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u@127.0.0.1:1/d?password=secret"}, "127.0.0.1:1"),
        ({"TRACKER_DATA_DIR": "a,b"}, "comma"),
        ({"TRACKER_TLS_KEY": "/nonexistent"}, "TRACKER_TLS_CERT"),
        ({"DATABASE_URL": "postgresql:///d?host=/nonexistent"}, "nonexistent"),
        ({"TRACKER_TLS_CERT": "/nonexistent"}, "TRACKER_TLS_CERT"),
        ({"TRACKER_DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
        ({"TRACKER_DATA_DIR": f"{'x' * 60}/{'y' * 60}"}, "TRACKER_DATA_DIR"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_start_that_cannot_work_ends_with_one_line_that_names_the_reason(
    tmp_path: Path, env: dict[str, str], named: str
) -> None:
    done = run_tracker("serve", "--port", "0", env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert named in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("command", [[], ["serve"], ["migrate"], ["health"]])
def test_help_reads_well(command: list[str]) -> None:
    done = run_tracker(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert "serve-worker" not in done.stdout


def test_health_says_whether_items_are_accepted(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    port = tracker.url.rpartition(":")[2]
    assert run_tracker("health", "--port", port).returncode == 0
    tracker.stop()
    assert run_tracker("health", "--port", port).returncode == 1


def test_health_waits_three_seconds_in_all_however_slowly_something_answers() -> None:
    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(100):
                time.sleep(1)
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=[server], daemon=True).start()
        started = time.monotonic()
        done = run_tracker("health", "--port", str(server.getsockname()[1]))
    assert (done.returncode, "none within 3 s" in done.stderr) == (1, True)
    assert time.monotonic() - started < 30


def test_an_idle_service_uses_next_to_no_cpu(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    tracker.post_item({"external_id": "a"})
    time.sleep(0.5)

    def cpu_s() -> float:
        fields = Path(f"/proc/{tracker.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = cpu_s()
    time.sleep(2)
    assert cpu_s() - before < 0.2


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert "version" in done.stdout
