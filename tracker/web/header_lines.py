"""Headers as the lines that are sent, for those who write an answer without Litestar."""

from collections.abc import Iterable


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as the bytes that are sent."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)
