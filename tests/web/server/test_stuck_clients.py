"""Which clients take nothing of what waits for them, and which connections are cut off for it."""

import asyncio

import uvicorn
from uvicorn.server import ServerState

from tracker.web.limits import REQUEST_TIMEOUT_S
from tracker.web.server.connection import Protocol, protocol
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


class Crowded(asyncio.Transport):
    """A transport of which nothing of 500 bytes is taken."""

    aborted = False

    def get_write_buffer_size(self) -> int:
        return 500

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.aborted = True


def test_a_client_that_was_stuck_once_and_went_on_has_its_whole_time_again() -> None:
    def is_cut_off(connection: Protocol, transport: Crowded, now_s: float) -> bool:
        connection.close_if_overdue(now_s)
        return transport.aborted

    async def main() -> None:
        config = uvicorn.Config(lambda: None, log_config=None)
        connection = protocol({})(config=config, server_state=ServerState(), app_state={})
        connection.connection_made(transport := Crowded())
        began_s = asyncio.get_running_loop().time()
        connection.pause_writing()
        assert not is_cut_off(connection, transport, began_s)
        connection.resume_writing()
        assert not is_cut_off(connection, transport, began_s + 1)
        connection.pause_writing()
        again_s = began_s + REQUEST_TIMEOUT_S + 1
        assert not is_cut_off(connection, transport, again_s)
        assert not is_cut_off(connection, transport, again_s + REQUEST_TIMEOUT_S)
        assert is_cut_off(connection, transport, again_s + REQUEST_TIMEOUT_S + 1)

    asyncio.run(main())
