"""How many connections and waiting requests are too many."""

import pytest

from tracker.web.server.crowding import (
    MAX_CONNECTIONS,
    MAX_PIPELINED,
    MAX_REFUSED,
    Turn,
    is_flood,
    reason_to_refuse,
)


@pytest.mark.parametrize(
    ("connections", "waiting", "reason"),
    [
        (1, 0, None),
        (MAX_CONNECTIONS, MAX_PIPELINED - 1, None),
        (MAX_CONNECTIONS + 1, 0, "too many connections are open"),
        (1, MAX_PIPELINED, "too many requests were sent without waiting for the answers"),
        (MAX_CONNECTIONS + 1, MAX_PIPELINED, "too many connections are open"),
    ],
)
def test_a_request_that_is_one_too_many_is_refused_with_the_reason(
    connections: int, waiting: int, reason: str | None
) -> None:
    assert reason_to_refuse(connections, waiting) == reason


def test_so_many_connections_are_told_that_they_are_too_many() -> None:
    assert [is_flood(MAX_CONNECTIONS + number) for number in (1, MAX_REFUSED, MAX_REFUSED + 1)] == [False, False, True]


def test_a_turn_is_over_after_as_many_answers_as_may_wait() -> None:
    turn = Turn()
    turn.answered = MAX_PIPELINED - 1
    assert not turn.is_over
    turn.answered += 1
    assert turn.is_over
