from datetime import UTC, datetime

import pytest

from tests.support.clock import ManualClock
from tracker.kit.clock import Stamper, SystemClock, greatest_beside, stamp_at, stamp_time


def test_stamps_grow_while_the_clock_stands_still() -> None:
    stamper = Stamper(ManualClock(1_000), worker=3)
    stamps = [stamper.next() for _ in range(1000)]
    assert stamps == sorted(set(stamps))


def test_stamps_grow_when_the_clock_steps_back() -> None:
    clock = ManualClock(10_000_000)
    stamper = Stamper(clock, worker=0)
    before = stamper.next()
    clock.set(0)
    assert stamper.next() > before


def test_two_workers_never_give_out_the_same_stamp() -> None:
    clock = ManualClock(5)
    one, two = Stamper(clock, worker=1), Stamper(clock, worker=2)
    assert not {one.next() for _ in range(100)} & {two.next() for _ in range(100)}


def test_a_stamp_tells_its_time_to_the_microsecond() -> None:
    stamp = Stamper(ManualClock(1_700_000_000_123_456), worker=1023).next()
    assert stamp_time(stamp) == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


def test_a_stamp_at_a_time_is_the_last_that_any_worker_gives_out_then() -> None:
    time = datetime(2026, 5, 4, 3, 2, 1, 999_999, tzinfo=UTC)
    clock = ManualClock(1_777_863_721_999_999)
    assert stamp_time(stamp_at(time)) == time
    assert Stamper(clock, 1023).next() == stamp_at(time)
    clock.set(1_777_863_722_000_000)
    assert Stamper(clock, 0).next() == stamp_at(time) + 1


def test_the_greatest_stamp_beside_another_is_the_last_that_any_worker_gives_out_then() -> None:
    clock = ManualClock(1_000)
    assert {greatest_beside(Stamper(clock, worker).next()) for worker in (0, 7, 1023)} == {Stamper(clock, 1023).next()}


def test_the_system_clock_counts_microseconds() -> None:
    assert abs(datetime.now(UTC).timestamp() - SystemClock().now_us() / 1e6) < 5


@pytest.mark.parametrize("worker", [-1, 1024])
def test_a_worker_number_that_does_not_fit_is_refused(worker: int) -> None:
    with pytest.raises(ValueError, match="worker number"):
        Stamper(ManualClock(), worker)
