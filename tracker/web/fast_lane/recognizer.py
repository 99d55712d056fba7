"""Code that all fast lanes share: it tells which requests are plain, and writes the answers to them.

Each lane belongs to a feature, and answers the same as the feature's route.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec

from tracker.errors import TrackerError
from tracker.telemetry.request_id import new_request_id, taken_request_id
from tracker.web.fast_lane.interface import Headers, Peer, Reply
from tracker.web.middleware.browser_policy import SECURITY_LINES, UNRESTRICTED, Admission, BrowserPolicy
from tracker.web.problems import PROBLEM_MEDIA_TYPE, problem_of, status_and_lines

PLAIN_CONTENT_TYPES: Final = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"text/plain", b"text/plain;charset=UTF-8"}
)
"""Content types of a plain request, as clients spell them; the route handles any other spelling."""

PLAIN_LENGTH_DIGITS: Final = 4
"""Most digits of a plain request's Content-Length: the fast lane holds a body in memory until it is whole, and the
application can refuse a large one before that."""

PLAIN_SCHEMES: Final = frozenset({b"http", b"https"})

KEPT_ADMISSIONS: Final = 256
"""Number of pairs of Host and Origin whose admission is cached: 0.1 µs instead of 0.35. Each takes at
most 16 KB, as a head may not be larger."""

PlainRequest = tuple[Mapping[bytes, bytes], Admission, bytes]
"""A plain request's headers, its admission, and the line with which its answer begins."""


class Recognizer:
    """Tells the plain requests from all others."""

    def __init__(self, policy: BrowserPolicy) -> None:
        self._admit = lru_cache(KEPT_ADMISSIONS)(policy.admit) if policy.is_on else None

    def recognize(self, headers: Headers, peer: Peer) -> PlainRequest | None:
        """Return a request with these headers if they are as nearly every request has them, and it may pass."""
        found = dict(headers)  # two of one name are not plain
        if (
            len(found) != len(headers)
            or found.get(b"content-type", b"text/plain") not in PLAIN_CONTENT_TYPES
            or len(found.get(b"content-length", b"")) > PLAIN_LENGTH_DIGITS
            or found.get(b"x-forwarded-proto", b"http") not in PLAIN_SCHEMES
            or b"transfer-encoding" in found
        ):
            return None
        secure = peer.secure
        if peer.proxies is not None and b"x-forwarded-proto" in found:
            secure = found[b"x-forwarded-proto"] == b"https"
        admission = UNRESTRICTED[secure]
        if self._admit is not None:
            try:
                admission = self._admit(found.get(b"host", b""), found.get(b"origin", b""), secure)
            except TrackerError:
                return None
        given = found.get(b"x-request-id")
        request_id = None if given is None else taken_request_id(given)
        return found, admission, b"x-request-id: %b\r\n" % (request_id or new_request_id())


def reply(status: int, media_type: bytes, body: bytes, headers: bytes, admission: Admission) -> Reply:
    """Return an answer that has a body; `headers` are whole header lines."""
    own = b"%bcontent-type: %b\r\ncontent-length: %d\r\n" % (headers, media_type, len(body))
    return status, b"%b%b%b%b" % (own, SECURITY_LINES[admission.secure], admission.end, body)


def refused(error: TrackerError, admission: Admission, id_line: bytes, more: bytes = b"") -> Reply:
    """Return the answer to an error, as the routes' handlers make it; `more` are lines of its headers."""
    status, lines = status_and_lines(error)
    body = msgspec.json.encode(problem_of(status, error))
    return reply(status, PROBLEM_MEDIA_TYPE.encode(), body, id_line + lines + more, admission)
