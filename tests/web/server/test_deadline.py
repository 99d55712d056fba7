"""The time by which a request must be here."""

from tracker.web.limits import REQUEST_TIMEOUT_S
from tracker.web.server.deadline import Deadline


def test_the_first_request_has_its_time_from_the_start_of_the_connection() -> None:
    deadline = Deadline(100.0)
    assert not deadline.is_over(100.0 + REQUEST_TIMEOUT_S)
    assert deadline.is_over(100.1 + REQUEST_TIMEOUT_S)


def test_a_request_has_its_time_from_its_own_start() -> None:
    deadline = Deadline(100.0)
    deadline.start(105.0)
    assert not deadline.is_over(105.0 + REQUEST_TIMEOUT_S)
    assert deadline.is_over(105.1 + REQUEST_TIMEOUT_S)


def test_nothing_is_late_while_nothing_must_come() -> None:
    deadline = Deadline(100.0)
    deadline.stop()
    assert not deadline.is_over(1e9)
    deadline.start(2e9)
    assert deadline.is_over(2.1e9)
