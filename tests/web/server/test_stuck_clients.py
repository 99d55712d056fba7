"""Which clients take nothing of what waits for them."""

from tracker.web.limits import REQUEST_TIMEOUT_S
from tracker.web.server.stuck_clients import GOODBYE_TIMEOUT_S, StuckClient


def test_a_client_that_takes_nothing_is_stuck_after_the_time_of_a_request() -> None:
    client = StuckClient()
    times = (0.0, 1.0, REQUEST_TIMEOUT_S, REQUEST_TIMEOUT_S + 0.1)
    assert [client.is_stuck(500, now_s) for now_s in times] == [False, False, False, True]


def test_a_client_that_takes_its_time_but_takes_is_not_stuck() -> None:
    client = StuckClient()
    assert not any(client.is_stuck(500 - number, number * REQUEST_TIMEOUT_S) for number in range(100))


def test_a_client_that_has_all_and_does_not_say_goodbye_is_stuck_sooner() -> None:
    client = StuckClient()
    times = (0.0, GOODBYE_TIMEOUT_S, GOODBYE_TIMEOUT_S + 0.1)
    assert [client.is_stuck(0, now_s) for now_s in times] == [False, False, True]


def test_a_client_for_whom_nothing_waited_meanwhile_has_its_time_anew() -> None:
    client = StuckClient()
    client.is_stuck(500, 0.0)
    client.clear()
    assert not client.is_stuck(500, REQUEST_TIMEOUT_S + 1)
    assert client.is_stuck(500, 2 * REQUEST_TIMEOUT_S + 2)
