"""The bytes of the answers that a connection writes by itself, without uvicorn's cycle."""

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from tracker.errors import UnavailableError
from tracker.telemetry.request_id import HEADER, new_request_id
from tracker.web.header_lines import lines_of
from tracker.web.middleware.browser_policy import SECURITY_LINES
from tracker.web.problems import PROBLEM_MEDIA_TYPE, problem, status_and_lines


class AnswerHeads(dict[int, bytes]):
    """Starts of the answers of a server, by status: the status line and the headers that every answer has.

    They are kept, because uvicorn makes these headers (the date) once a second.
    """

    def __init__(self) -> None:
        """Begin with no headers."""
        super().__init__()
        self.headers: list[tuple[bytes, bytes]] = []
        """uvicorn's own headers, of which these starts are made."""

    def renew(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Go over to other headers."""
        self.clear()
        self.headers = headers

    def __missing__(self, status: int) -> bytes:
        """Make the start of an answer with this status."""
        head = self[status] = STATUS_LINE[status] + lines_of(self.headers)
        return head


def refusal(status: int, detail: str, *, secure: bool) -> bytes:
    """Return an answer that refuses a request and ends the connection, which is https if `secure`."""
    body = msgspec.json.encode(problem(status, detail))
    unavailable, retry = status_and_lines(UnavailableError(detail))
    return (
        STATUS_LINE[status]
        + f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n".encode()
        + (retry if status == unavailable else b"")
        + lines_of([(HEADER, new_request_id())])
        + SECURITY_LINES[secure]
        + b"\r\n"
        + body
    )
