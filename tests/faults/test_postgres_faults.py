"""What PostgreSQL may do under load: writes are acknowledged as before, and stored once it is well again."""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Database, StartTracker
from tests.support.faults.load import Load, Outcome, wait_for_acknowledged
from tests.support.faults.outages import Outage, OwnPostgres, Proxy, locked_table, login
from tracker.postgres.schema import upgrade_schema

LONG_S = 1.0
"""A fault that lasts as long meets answers, also on a machine that has much else to do."""

MAX_GROWTH_MB = 100


@pytest.fixture
def outage(server_url: str, database: Database) -> Iterator[Outage]:
    outage = Outage(server_url, database)
    yield outage
    outage.end()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[OwnPostgres]:
    own = OwnPostgres(tmp_path / "own")
    own.start()
    upgrade_schema(own.url)
    yield own
    own.stop()


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    pytest.fail("the kernel does not tell the memory")


def survives(
    start_tracker: StartTracker,
    url: str,
    database: Database,
    fault: Callable[[], None],
    *,
    recovers_in_s: float = 30,
) -> None:
    """Run `fault`, which begins and ends it, under load; all writes must be acknowledged meanwhile, and stored."""
    tracker = start_tracker(env={"DATABASE_URL": url})
    with Load(tracker.url, seed=random.randrange(10**6), new_items_only=True) as load:
        wait_for_acknowledged(load, 50)
        memory_before_mb = memory_mb(tracker.process.pid)
        fault_s = time.monotonic()
        fault()
        over_s = time.monotonic()
        time.sleep(0.2)
        load.stop()
        during = load.times(fault_s, over_s)
        print(f"{load}; during {during}")  # noqa: T201  # pytest shows it of a failure
        assert load.count(Outcome.REFUSED) == load.count(Outcome.UNKNOWN) == load.unreachable == 0, str(load)
        if over_s - fault_s > LONG_S:
            assert during.writes, "an answer waits for nothing that PostgreSQL does"
        assert memory_mb(tracker.process.pid) - memory_before_mb < MAX_GROWTH_MB
    load.wait_until_stored(database, recovers_in_s)
    print(f"stored {time.monotonic() - over_s:.1f} s after it was over")  # noqa: T201  # as above
    assert tracker.stop() == 0
    assert load.problems(database) == []


def test_ended_backends_are_not_noticed(start_tracker: StartTracker, database: Database, outage: Outage) -> None:
    survives(start_tracker, database.url, database, outage.terminate)


@pytest.mark.slow
def test_backends_ended_in_a_loop_are_not_noticed(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    def fault() -> None:
        for _ in range(70):
            outage.terminate()
            time.sleep(0.03)

    survives(start_tracker, database.url, database, fault)


@pytest.mark.slow
def test_a_stopped_postgresql_is_not_noticed(start_tracker: StartTracker, own_postgres: OwnPostgres) -> None:
    def fault() -> None:
        own_postgres.stop()
        time.sleep(20)
        own_postgres.start()

    survives(start_tracker, own_postgres.url, Database(own_postgres.url), fault)


@pytest.mark.slow
def test_a_postgresql_that_dies_in_the_middle_of_commits_is_not_noticed(
    start_tracker: StartTracker, own_postgres: OwnPostgres
) -> None:
    database = Database(own_postgres.url)
    for setting in ("commit_delay = 100000", "commit_siblings = 0"):  # a commit takes 0.1 s, so most of the time
        database.fetch(f"ALTER DATABASE postgres SET {setting}")

    def fault() -> None:
        for _ in range(3):
            own_postgres.stop(signal.SIGQUIT)
            own_postgres.start()
            time.sleep(1)

    survives(start_tracker, own_postgres.url, database, fault)


@pytest.mark.slow
def test_a_read_only_postgresql_is_not_noticed(start_tracker: StartTracker, database: Database, outage: Outage) -> None:
    def fault() -> None:
        outage.set_read_only("on")
        time.sleep(2.5)
        outage.set_read_only("off")

    survives(start_tracker, database.url, database, fault)


@pytest.mark.slow
def test_a_locked_table_is_not_noticed(start_tracker: StartTracker, database: Database) -> None:
    def fault() -> None:
        with locked_table(database):
            time.sleep(10)

    survives(start_tracker, database.url, database, fault)


@pytest.mark.slow
def test_a_postgresql_without_a_free_connection_is_not_noticed(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    limit = 4
    database = Database(database.url)  # one that keeps no session, which would be one of them
    database.fetch(f'ALTER DATABASE "{outage.name}" CONNECTION LIMIT {limit}')

    async def take_all_connections(url: str, count: int, hold_s: float) -> None:
        held: list[asyncpg.Connection] = []
        deadline = time.monotonic() + 60
        while len(held) < count:
            assert time.monotonic() < deadline, f"{len(held)} of {count} connections taken"
            try:
                held.append(await asyncpg.connect(url))
            except asyncpg.TooManyConnectionsError:
                await asyncio.to_thread(
                    database.fetch,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name LIKE 'tracker%'",
                )
        await asyncio.sleep(hold_s)
        for connection in held:
            await connection.close()

    with login(database) as role:
        database.fetch(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role.name}")
        survives(
            start_tracker, role.url, database, lambda: asyncio.run(take_all_connections(role.url, limit, hold_s=2.5))
        )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["delay", "hold", "reset", "cut commits"])
def test_a_network_that_fails_is_not_noticed(start_tracker: StartTracker, database: Database, mode: str) -> None:
    with Proxy(database.url) as proxy:

        def fault() -> None:
            proxy.set(mode)
            time.sleep(2.5)
            proxy.set("pass")

        survives(start_tracker, proxy.url, database, fault)
        if mode == "cut commits":
            assert proxy.cuts


@pytest.mark.slow
def test_connections_that_die_in_silence_are_given_up(start_tracker: StartTracker, database: Database) -> None:
    with Proxy(database.url) as proxy:

        def fault() -> None:
            proxy.set("swallow")
            time.sleep(2)
            proxy.set("pass")  # for new connections; the others stay dead

        survives(start_tracker, proxy.url, database, fault, recovers_in_s=90)
        assert proxy.swallowed
