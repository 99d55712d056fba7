"""A service that is called is not trusted, and each way to get no answer has its own error."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tracker.kit.outbound_http import Answer, OutboundClient, OutboundError, TooLargeError, UnreachableError

LONG_S: Final = 30.0

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nSet-Cookie: a=b\r\n\r\n0123456789"


@dataclass
class Service:
    """A server that gives each request the same answer, the first one without an end until `may_end` is set."""

    answer: bytes
    closes: bool = False
    may_end: asyncio.Event | None = None
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
                self.requests.append(head + (await reader.readexactly(length)).decode())
                self.is_asked.set()
                if self.may_end is not None and len(self.requests) == 1:
                    await self.drip(writer, self.may_end)
                else:
                    writer.write(self.answer)
                if self.closes:
                    writer.close()

    async def drip(self, writer: asyncio.StreamWriter, may_end: asyncio.Event) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not may_end.is_set():
            writer.write(b"1\r\n0\r\n")
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def calling(service: Service, *, timeout_s: float = LONG_S) -> AsyncIterator[OutboundClient]:
    client = OutboundClient(timeout_s=timeout_s, connect_timeout_s=LONG_S, connections=1)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/path"
    try:
        yield client
    finally:
        await client.close()
        for writer in service.writers:
            writer.close()
        server.close()
        await server.wait_closed()


async def get(client: OutboundClient, url: str, max_bytes: int = 1000) -> tuple[int, bytes]:
    answer = await client.call("GET", url, headers={}, max_bytes=max_bytes)
    return answer.status, answer.content


def fetched(service: Service, *, timeout_s: float = LONG_S, max_bytes: int = 1000) -> tuple[int, bytes]:
    async def main() -> tuple[int, bytes]:
        async with calling(service, timeout_s=timeout_s) as client:
            return await get(client, service.url, max_bytes)

    return asyncio.run(main())


def test_a_request_is_sent_as_asked_for() -> None:
    service = Service(OK)
    own = {"X-Own": "1"}
    sent: list[dict[str, Any]] = [{"json": {"a": 1}}, {"form": {"a": "1 2"}}, {"content": "a"}]

    async def main() -> None:
        async with calling(service) as client:
            for body in sent:
                answer = await client.call("POST", service.url, headers=own, max_bytes=10, auth=("me", "it"), **body)
                assert answer.content == b"0123456789"

    asyncio.run(main())
    heads, bodies = zip(*(request.split("\r\n\r\n") for request in service.requests), strict=True)
    assert bodies == ('{"a":1}', "a=1+2", "a")
    for head in heads:
        assert head.startswith("POST /path HTTP/1.1\r\n")
        assert {"x-own: 1", "accept-encoding: identity", "authorization: basic bwu6axq="} <= set(
            head.lower().split("\r\n")
        )


def test_no_cookie_is_kept_and_a_connection_is() -> None:
    service = Service(OK)

    async def main() -> None:
        async with calling(service) as client:
            for _ in range(2):
                assert await get(client, service.url) == (200, b"0123456789")

    asyncio.run(main())
    assert len(service.requests) == 2
    assert "cookie" not in "".join(service.requests).lower()
    assert len(service.writers) == 1


def test_a_redirect_is_an_answer_like_any_other() -> None:
    service = Service(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
    assert fetched(service) == (307, b"")
    assert len(service.requests) == 1


def test_the_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetched(Service(OK)) == (200, b"0123456789")


def test_an_answer_may_have_as_many_bytes_as_allowed_and_none_more() -> None:
    assert fetched(Service(OK), max_bytes=10) == (200, b"0123456789")
    with pytest.raises(TooLargeError, match="larger than 9 bytes"):
        fetched(Service(OK), max_bytes=9)


def test_the_content_of_an_error_is_read_only_for_who_wants_it() -> None:
    service = Service(b"HTTP/1.1 409 Taken\r\nContent-Length: 10\r\nRetry-After: 7\r\n\r\n0123456789")

    async def main() -> None:
        async with calling(service) as client:
            assert await get(client, service.url, 10) == (409, b"0123456789")
            answer = await client.call("GET", service.url, headers={}, max_bytes=9, reads_errors=False)
            assert (answer.status, answer.reason, answer.content) == (409, "Taken", b"")
            assert answer.headers["RETRY-after"] == "7"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (200, (True, False, False)),
        (299, (True, False, False)),
        (302, (False, False, False)),
        (404, (False, True, False)),
        (500, (False, False, True)),
        (600, (False, False, False)),
    ],
)
def test_the_first_digit_of_a_status_says_what_an_answer_is(status: int, kinds: tuple[bool, bool, bool]) -> None:
    answer = Answer(status, "", {}, b"")
    assert (answer.is_success, answer.is_client_error, answer.is_server_error) == kinds


def test_an_answer_without_an_end_is_read_no_further_than_allowed() -> None:
    part = b"5\r\n01234\r\n"
    endless = Service(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + part * 10)
    with pytest.raises(TooLargeError, match="larger than 40 bytes"):
        fetched(endless, max_bytes=40)


def test_who_cannot_be_reached_has_not_been_asked() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        async def main() -> None:
            client = OutboundClient(timeout_s=LONG_S, connect_timeout_s=LONG_S, connections=1)
            await get(client, f"http://127.0.0.1:{unused.getsockname()[1]}")

        with pytest.raises(UnreachableError, match="connect"):
            asyncio.run(main())


@pytest.mark.parametrize(("timeout_s", "connect_timeout_s"), [(LONG_S, 0.2), (0.2, LONG_S)])
def test_who_does_not_take_the_connection_cannot_be_reached_within_the_shorter_time(
    timeout_s: float, connect_timeout_s: float
) -> None:
    with contextlib.ExitStack() as stack:
        crowded = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # more than wait in its queue: the kernel leaves the next one without an answer
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(crowded.getsockname())

        async def main() -> None:
            client = OutboundClient(timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, connections=1)
            await get(client, f"http://127.0.0.1:{crowded.getsockname()[1]}")

        began_s = time.monotonic()
        with pytest.raises(UnreachableError, match="ConnectTimeout"):
            asyncio.run(main())
    assert time.monotonic() - began_s < LONG_S / 2


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01"])
def test_an_answer_that_does_not_come_on_is_late(answer: bytes) -> None:
    with pytest.raises(TimeoutError, match="ReadTimeout"):
        fetched(Service(answer), timeout_s=0.2)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01", b"220 mail.example ESMTP\r\n"]
)
def test_what_breaks_off_or_is_no_http_is_no_answer(answer: bytes) -> None:
    with pytest.raises(OutboundError) as raised:
        fetched(Service(answer, closes=True))
    assert type(raised.value) is OutboundError
    assert str(raised.value)


def test_an_address_that_is_none_is_no_answer() -> None:
    async def main() -> None:
        await get(OutboundClient(timeout_s=LONG_S, connect_timeout_s=LONG_S, connections=1), "http://a:b")

    with pytest.raises(OutboundError):
        asyncio.run(main())


def test_no_more_calls_are_in_flight_than_connections_and_the_others_wait_within_their_time() -> None:
    service = Service(OK, may_end=(may_end := asyncio.Event()))

    async def main() -> None:
        async with calling(service, timeout_s=2.0) as client:
            first = asyncio.create_task(get(client, service.url))
            await service.is_asked.wait()
            with pytest.raises(TimeoutError, match="PoolTimeout"):
                await get(client, service.url)
            may_end.set()
            assert (await first)[0] == 200
            assert await get(client, service.url) == (200, b"0123456789")

    asyncio.run(main())
    assert len(service.requests) == 2
