"""The bytes of a journal segment, and how to read them back whatever happened to the file.

    segment = header frame*
    header  = magic (8) | salt (4) | crc32 of both (4)
    frame   = crc32 (4) | length (2) | length inverted (2) | sequence (4) | payload (1 to 65,535)

A frame's crc32 starts from the segment's random salt plus the frame's sequence number: bytes of an
older file that come to light in this one do not pass, nor does a frame in another's place. The salt
stands in the file's name too, so that a damaged header costs no frame.

A frame that is cut off by the end of the file is the normal end of a journal whose process or machine
died: the length checks itself against its inverse, so that a damaged length is not taken for one.
Whatever else is not a frame is damage; reading goes on at the next byte from which a frame passes.
"""

import re
import struct
from typing import Final, NamedTuple
from zlib import crc32

_MAGIC: Final = b"TRACKER1"
_HEADER: Final = struct.Struct("<8sII")
_FRAME: Final = struct.Struct("<IHHI")
_NAME: Final = re.compile(r"(?P<number>[0-9]{10})-(?P<salt>[0-9a-f]{8})\.journal")

HEADER_BYTES: Final = _HEADER.size
FRAME_BYTES: Final = _FRAME.size
"""Number of bytes that a frame adds to its payload."""

MAX_PAYLOAD_BYTES: Final = 0xFFFF
_MASK: Final = 0xFFFFFFFF
_LENGTH_MASK: Final = 0xFFFF


class Scan(NamedTuple):
    """The result of reading a segment."""

    payloads: list[bytes]
    """Payloads of all frames that pass the check, in the order in which they were written."""

    damaged: int
    """Number of frames that are known to be missing: found by gaps in the sequence, or one for damage at the end."""

    intact: bool
    """True if the file has no damage; a last frame that was cut off is no damage."""


def segment_name(number: int, salt: int) -> str:
    """Return the file name of a segment; names sort in the order of their numbers."""
    return f"{number:010}-{salt:08x}.journal"


def parse_segment_name(name: str) -> tuple[int, int] | None:
    """Return the number and the salt in a segment's file name, or None for another file."""
    match = _NAME.fullmatch(name)
    return None if match is None else (int(match["number"]), int(match["salt"], 16))


def header(salt: int) -> bytes:
    """Return the first bytes of a segment."""
    return _HEADER.pack(_MAGIC, salt, crc32(_MAGIC, salt))


def frame(payload: bytes, salt: int, sequence: int) -> bytes:
    """Return the frame of `payload`, number `sequence` (from 0) of the segment with `salt`.

    Raises ValueError unless the payload has 1 to 65,535 bytes.
    """
    length = len(payload)
    if not 0 < length <= MAX_PAYLOAD_BYTES:
        msg = f"a payload has 1 to {MAX_PAYLOAD_BYTES} bytes, not {length}"
        raise ValueError(msg)
    return _FRAME.pack(crc32(payload, (salt + sequence) & _MASK), length, length ^ _LENGTH_MASK, sequence) + payload


def scan(data: bytes, salt: int) -> Scan:
    """Read every frame of a segment that passes; never raises, whatever `data` is."""
    payloads: list[bytes] = []
    damaged = sequence = 0
    offset = HEADER_BYTES
    header_intact = header(salt).startswith(data[:HEADER_BYTES])
    while offset < len(data):
        end = _end_of_frame(data, offset, salt, sequence, sequence)
        if end is None:
            found = _next_frame(data, offset + 1, salt, sequence)
            if found is None:
                damaged += not _is_cut_off(data, offset)
                break
            offset, end = found
            found_sequence = _sequence_at(data, offset)
            damaged += max(1, found_sequence - sequence)
            sequence = found_sequence
        payloads.append(data[offset + FRAME_BYTES : end])
        sequence += 1
        offset = end
    return Scan(payloads, damaged, intact=header_intact and not damaged)


def _end_of_frame(data: bytes, offset: int, salt: int, first: int, last: int) -> int | None:
    """Return where the frame at `offset` ends if it passes with a sequence from `first` to `last`."""
    if offset + FRAME_BYTES > len(data):
        return None
    crc, length, inverted, sequence = _FRAME.unpack_from(data, offset)
    start = offset + FRAME_BYTES
    if length ^ inverted != _LENGTH_MASK or not length or start + length > len(data) or not first <= sequence <= last:
        return None
    end: int = start + length
    return end if crc32(data[start:end], (salt + sequence) & _MASK) == crc else None


def _next_frame(data: bytes, offset: int, salt: int, sequence: int) -> tuple[int, int] | None:
    """Return start and end of the next frame that passes and is not older than `sequence`."""
    for start in range(offset, len(data) - FRAME_BYTES):
        last = sequence + (start - offset) + 1  # a missing frame took more than a byte
        if end := _end_of_frame(data, start, salt, sequence, last):
            return start, end
    return None


def _sequence_at(data: bytes, offset: int) -> int:
    sequence: int = _FRAME.unpack_from(data, offset)[3]
    return sequence


def _is_cut_off(data: bytes, offset: int) -> bool:
    """Return whether the bytes from `offset` to the end of `data` are the beginning of a frame."""
    rest = len(data) - offset
    if rest < FRAME_BYTES:
        return True
    _, length, inverted, _ = _FRAME.unpack_from(data, offset)
    return bool(length ^ inverted == _LENGTH_MASK and length and rest < FRAME_BYTES + length)
