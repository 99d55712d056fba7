"""The state of the queue, for Prometheus: a handler whose last job is done has none, which is not no number."""

import asyncio

from tests.conftest import Database
from tracker.jobs.metrics import JOBS, OLDEST, OLDEST_DUE, QueueState
from tracker.jobs.queue import enqueue
from tracker.postgres.engine import engine_on
from tracker.telemetry.families import Sample


def test_a_handler_is_shown_with_zeros_once_its_last_job_is_gone(database: Database) -> None:
    async def main() -> None:
        state = QueueState()
        async with engine_on(database.url) as engine, engine.begin() as connection:
            assert await state.samples(connection) == []
            await enqueue(connection, "note", [b"a", b"b"])
            found = await state.samples(connection)
            assert {sample.labels: sample.value for sample in found if sample.family is JOBS} == {
                ("note", "due"): 2,
                ("note", "later"): 0,
                ("note", "running"): 0,
            }
            await connection.exec_driver_sql("DELETE FROM pgqueuer")
            assert set(await state.samples(connection)) == {
                *(Sample(JOBS, 0, ("note", state)) for state in ("due", "later", "running")),
                Sample(OLDEST_DUE, 0.0, ("note",)),
                Sample(OLDEST, 0.0, ("note",)),
            }
            assert await QueueState().samples(connection) == []  # another process knows nothing of it

    asyncio.run(main())
