"""The bound of a head in bytes, whatever slices it comes in."""

import httptools
from hypothesis import example, given
from hypothesis import strategies as st

from tracker.web.limits import MAX_HEADER_BYTES
from tracker.web.server.head_bytes import HeadBytes, size_of_head

BODY = b"x" * 50


class Reader:
    """Reads as the connection does: the parser tells it what it finds."""

    def __init__(self) -> None:
        self.bytes = HeadBytes()
        self.complete = 0
        self._parser = httptools.HttpRequestParser(self)

    def is_too_large_after(self, piece: bytes) -> bool:
        self.bytes.start_slice(len(piece))
        self._parser.feed_data(piece)
        return self.bytes.end_slice()

    def on_message_begin(self) -> None:
        self.bytes.in_request = True
        self.bytes.parts += 1

    def on_body(self, body: bytes) -> None:
        del body
        self.bytes.parts += 1

    def on_message_complete(self) -> None:
        self.bytes.in_request = False
        self.complete += 1


def request(size: int, body: bytes = b"") -> bytes:
    start = b"POST / HTTP/1.1\r\nContent-Length: %d\r\nA: " % len(body)
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n" + body


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut `data` into pieces of these sizes, over and over."""
    found: list[bytes] = []
    while data:
        size = sizes[len(found) % len(sizes)]
        found.append(data[:size])
        data = data[size:]
    return found


sizes = st.lists(st.integers(1, MAX_HEADER_BYTES), min_size=1, max_size=5).filter(lambda found: sum(found) > 200)
heads = st.sampled_from([60, 300, 8000, MAX_HEADER_BYTES - 1, MAX_HEADER_BYTES])


# Most of the first piece is of another request; the rest of the second head comes in two.
@example([16_000, 5000], [(8000, b""), (MAX_HEADER_BYTES, b"")])
@given(sizes, st.lists(st.tuples(heads, st.sampled_from([b"", BODY, BODY * 2000])), min_size=1, max_size=4))
def test_no_head_within_the_bound_is_too_large(sizes: list[int], requests: list[tuple[int, bytes]]) -> None:
    reader = Reader()
    stream = b"".join(request(size, body) for size, body in requests)
    assert not any(reader.is_too_large_after(piece) for piece in pieces(stream, sizes))
    assert reader.complete == len(requests)


# The first head comes in two pieces, with nearly a whole bound of the second behind it.
@example([1, MAX_HEADER_BYTES, MAX_HEADER_BYTES, MAX_HEADER_BYTES], True)  # noqa: FBT003  # by position, as `given` takes them
@given(sizes, st.booleans())
def test_a_head_without_an_end_is_too_large_before_three_bounds_have_come(sizes: list[int], behind: bool) -> None:  # noqa: FBT001
    reader = Reader()
    start = request(300, BODY) if behind else b""
    endless = b"GET /" + b"a" * 3 * MAX_HEADER_BYTES
    came = 0
    for piece in pieces(start + endless, sizes):
        came += len(piece)
        if reader.is_too_large_after(piece):
            break
    else:
        raise AssertionError("it is never too large")
    assert MAX_HEADER_BYTES < came <= len(start) + 3 * MAX_HEADER_BYTES


def test_line_ends_between_requests_are_no_head() -> None:
    reader = Reader()
    assert not reader.is_too_large_after(request(300))
    assert not any(reader.is_too_large_after(b"\r\n" * 4000) for _ in range(5))


def test_trailers_without_an_end_are_too_large() -> None:
    reader = Reader()
    start = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    assert not reader.is_too_large_after(start)
    trailer = pieces(b"A: " + b"a" * MAX_HEADER_BYTES, [1000])
    assert [reader.is_too_large_after(piece) for piece in trailer] == [False] * (len(trailer) - 1) + [True]


def test_a_head_that_may_be_too_large_is_told_before_it_ends() -> None:
    reader = Reader()
    for piece, most in zip(pieces(request(9000), [4000]), (4000, 8000, 9000), strict=True):
        reader.is_too_large_after(piece)
        assert reader.bytes.most_bytes == most


def test_the_size_of_a_head_counts_what_the_parser_leaves_out() -> None:
    assert size_of_head(b"/item", [(b"a", b"bc"), (b"d", b"")]) == len("/item") + len("a:bc\r\n") + len("d:\r\n")
