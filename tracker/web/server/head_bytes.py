"""Bound of a request's head in bytes, and of its trailers: also of those that never end.

The parser tells of a header only when it has all of it. Until then, what counts is what came.
"""

from collections.abc import Sequence

from tracker.web.limits import MAX_HEADER_BYTES


class HeadBytes:
    """Counts the bytes of a head, or of trailers, that has not ended.

    Bytes come in slices of at most `MAX_HEADER_BYTES`: where a head begins within one cannot be told. The connection
    sets `in_request` and counts `parts` itself, because it does so for each request.
    """

    __slots__ = ("_is_fresh", "_slice_bytes", "_unended_bytes", "in_request", "most_bytes", "parts")

    def __init__(self) -> None:
        """Begin between two requests."""
        self.in_request = False
        """Whether a request has begun and is not here as a whole."""
        self.parts = 0
        """Number of beginnings of requests and pieces of bodies in this slice."""
        self.most_bytes = 0
        """Largest size in bytes that a head which ends in this slice can have; only a large one is worth measuring."""
        self._is_fresh = True
        self._slice_bytes = 0
        self._unended_bytes = 0

    def start_slice(self, size: int) -> None:
        """Begin a slice of `size` bytes."""
        self._is_fresh = not self.in_request
        self.parts = 0
        self._slice_bytes = size
        self.most_bytes = self._unended_bytes + size

    def end_slice(self) -> bool:
        """End the slice; return whether it leaves a head or trailers without an end that are too large already."""
        if not self.in_request:
            return False
        if self.parts == 0:
            self._unended_bytes = self.most_bytes
        else:
            self._unended_bytes = self._slice_bytes if self._is_fresh and self.parts == 1 else 0
        return self._unended_bytes > MAX_HEADER_BYTES


def size_of_head(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the size of a head in bytes, with at least a colon and the line's end for each header."""
    return len(url) + sum(len(name) + len(value) + 3 for name, value in headers)
