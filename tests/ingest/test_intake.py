"""The way into the pipeline, with a journal that says what it is asked: what is refused leaves no trace."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.parts import new_flusher
from tracker.errors import BufferFullError, JournalUnavailableError, UnconfirmedError
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.intake import Intake
from tracker.ingest.items import CartId, ItemWrite
from tracker.ingest.journal.protocol import NoJournal
from tracker.kit.clock import Stamper, SystemClock
from tracker.settings import Ack

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")
WRITE = ItemWrite(CART, "a", None, None, 1)


class Journal(NoJournal):
    """Calls what it is told to for each frame."""

    def __init__(self, on_append: Callable[[], None]) -> None:
        self.on_append = on_append
        self.frames = 0

    def append(self, payload: bytes, stamp: int) -> None:
        del payload, stamp
        self.on_append()
        self.frames += 1


def new_intake(aggregator: Aggregator, journal: Journal, ack: Ack = Ack.JOURNAL) -> Intake:
    return Intake(
        stamper=Stamper(SystemClock(), 0),
        journal=journal,
        aggregator=aggregator,
        flusher=new_flusher(aggregator),
        traced_items=None,
        ack=ack,
        commit_timeout_s=0.01,
    )


def refuse() -> None:
    raise JournalUnavailableError("the disk is nearly full")


def test_a_write_stands_in_the_journal_before_it_is_in_memory() -> None:
    aggregator = Aggregator(max_bytes=10**9)
    found: list[int] = []
    journal = Journal(lambda: found.append(len(aggregator)))
    assert new_intake(aggregator, journal).take(WRITE) is None
    assert (found, journal.frames, len(aggregator)) == ([0], 1, 1)


def test_a_write_that_the_journal_refuses_is_not_in_memory_either() -> None:
    aggregator = Aggregator(max_bytes=10**9)
    intake = new_intake(aggregator, Journal(refuse))
    with pytest.raises(JournalUnavailableError):
        intake.take(WRITE)
    assert (intake.accepted, len(aggregator)) == (0, 0)


def test_a_write_that_finds_the_buffer_full_is_not_in_the_journal_either() -> None:
    journal = Journal(lambda: None)
    intake = new_intake(Aggregator(max_bytes=1), journal)
    intake.take(WRITE)
    with pytest.raises(BufferFullError):
        intake.take(WRITE)
    assert (intake.accepted, journal.frames) == (1, 1)


def test_a_full_buffer_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    intake = new_intake(Aggregator(max_bytes=1), Journal(lambda: None))
    intake.take(WRITE)
    for _ in range(100):
        with pytest.raises(BufferFullError):
            intake.take(WRITE)
    assert [record.message for record in caplog.records] == ["no items are accepted"]


def test_at_level_commit_a_write_that_is_not_stored_in_time_is_taken_and_not_confirmed() -> None:
    async def main() -> int:
        aggregator = Aggregator(max_bytes=10**9)
        intake = new_intake(aggregator, Journal(refuse), Ack.COMMIT)
        with pytest.raises(UnconfirmedError):
            await intake.accept(WRITE)
        return len(aggregator)

    assert asyncio.run(main()) == 1
