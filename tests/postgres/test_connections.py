"""The connections to PostgreSQL: as many as the guides say, with a time-out on every wait, and a dead peer noticed."""

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvloop

from tests.conftest import Database, StartTracker, Tracker, cart_of
from tests.support.faults.outages import Proxy, locked_table
from tests.support.oidc import Provider
from tests.support.reservations import jobs as jobs_left
from tests.support.reservations import reservation_service, statuses
from tests.support.shopper import new_shopper, sell
from tests.support.waiting import wait_until
from tracker.postgres.connection import Connection, Connector

KINDS_OF_JOBS = 3
"""Archiving warranties, reserving items, settling orders."""


def connections(database: Database) -> int:
    count: int = database.fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tracker%'"
    )[0]["count"]
    return count


def ask(tracker: Tracker, path: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        tracker.client.get(path)


@pytest.mark.parametrize(("requests", "jobs"), [(1, 1), (6, 3)])
def test_a_process_takes_as_many_connections_as_the_guides_say(
    start_tracker: StartTracker, database: Database, provider: Provider, requests: int, jobs: int
) -> None:
    sell(database, "mug")
    with reservation_service() as service:
        tracker = start_tracker(
            env={
                "DATABASE_URL": database.url,
                "TRACKER_PAYMENT": "sandbox",
                "TRACKER_RESERVATION_URL": service.url,
                "TRACKER_REQUEST_CONNECTIONS": str(requests),
                "TRACKER_JOB_CONNECTIONS": str(jobs),
                **provider.env(),
            }
        )
        cart_id = cart_of(tracker.post_item({"external_id": "first"}))
        for number in range(40):
            tracker.post_item({"external_id": f"item-{number}"}, cart_id)
        wait_until(lambda: set(statuses(database).values()) == {"reserved"} and jobs_left(database) == 0)
        anna = new_shopper(tracker, provider)
        assert anna.check_out(anna.cart_with(mug=1)).status_code == 200, "no request needs two connections at once"
        most = 3 + requests + jobs + 3 * KINDS_OF_JOBS
        # Who reads a cart waits now, and keeps the connection; so does who notes what was reserved.
        with ThreadPoolExecutor(20) as pool, locked_table(database, "items, reservations"):
            for number in range(40):
                tracker.post_item({"external_id": f"another-{number}"}, cart_id)
                pool.submit(ask, tracker, f"/items?cart_id={cart_id}")
            wait_until(lambda: waiting_readers(database) == requests)
            assert 3 + requests + jobs < connections(database) <= most
        database.wait_for_items(cart_id, 81)
        assert connections(database) <= most
        tracker.stop()


def waiting_readers(database: Database) -> int:
    count: int = database.fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND application_name = 'tracker' AND query LIKE '%items.external_id%' AND query NOT LIKE '%INSERT%'"
    )[0]["count"]
    return count


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_peer_that_is_dead_is_noticed_within_a_minute(database: Database, loop_factory: object) -> None:
    async def options() -> tuple[int, ...]:
        connection = await Connector(proxy.url)()
        try:
            endpoint = connection._transport.get_extra_info("socket")  # noqa: SLF001  # asyncpg shows it to nobody
            with socket.fromfd(endpoint.fileno(), endpoint.family, socket.SOCK_STREAM) as copy:
                tcp = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
                keeps_alive = copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                return (keeps_alive, *(copy.getsockopt(socket.IPPROTO_TCP, option) for option in tcp))
        finally:
            await connection.close()

    with Proxy(database.url) as proxy, asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[arg-type]  # a list of both
        assert runner.run(options()) == (1, 20, 10, 3, 50_000)


def test_postgresql_is_asked_to_notice_it_too(database: Database) -> None:
    async def asked() -> dict[str, str]:
        connection = await Connector(database.url)()
        try:
            # Sockets of Unix have none: what is shown of them is 0, what was asked for is kept.
            rows = await connection.fetch(
                "SELECT name, reset_val FROM pg_settings WHERE name LIKE 'tcp%' AND source = 'client'"
            )
            return dict(map(tuple, rows))
        finally:
            await connection.close()

    assert asyncio.run(asked()) == {
        "tcp_keepalives_idle": "20",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "50000",
    }


def test_postgresql_itself_bounds_every_wait(database: Database) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

    async def settings() -> list[str]:
        connection: Connection = await Connector(database.url)()
        try:
            return [await connection.fetchval(f"SHOW {name}") for name in names]
        finally:
            await connection.close()

    assert asyncio.run(settings()) == ["30s", "15s", "10s"]
