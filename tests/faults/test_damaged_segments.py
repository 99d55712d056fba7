"""A segment cut, flipped or zeroed anywhere: what is whole is replayed, the rest is counted and kept."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.faults.disk import Disk
from tests.support.faults.simulation import run
from tracker.ingest.journal.frames import FRAME_BYTES, HEADER_BYTES, Scan, frame, header, scan, segment_name
from tracker.ingest.journal.recovery import Recovery, Replay
from tracker.ingest.worker_folders import WorkerFolder

SALT = 0x5EED5A17
FOLDER = Path("/data/workers/0003")
NAME = segment_name(7, SALT)


def segment(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    """Return a segment, and where each of its frames ends."""
    data, ends = header(SALT), []
    for sequence, payload in enumerate(payloads):
        data += frame(payload, SALT, sequence)
        ends.append(len(data))
    return data, ends


def payloads_of(count: int, longest: int, seed: int = 5) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(chance.randint(1, longest)) for _ in range(count)]


class Recovered:
    """What a recovery makes of a folder."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.replayed: list[bytes] = []
        self.undecodable = 0

    async def replay(self, payloads: list[bytes]) -> Replay:
        self.replayed += payloads
        return Replay(len(payloads), self.undecodable, 1 << 20)

    async def _run(self) -> int:
        recovery = Recovery(
            FOLDER.parent.parent, WorkerFolder(FOLDER, 3), self.disk, replay=self.replay, last_stamp=int
        )
        recovery.start()
        await asyncio.sleep(30)
        assert "recovery" in {task.get_name() for task in asyncio.all_tasks()}
        assert recovery.leftover_bytes == 0
        await recovery.close()
        return recovery.damaged_frames

    def run(self) -> int:
        """Return how many frames were damaged."""
        return run(self._run(), random.Random(1))


def recovered(data: bytes) -> tuple[list[bytes], int, set[str]]:
    """Return what is replayed of a segment, how many frames count as damaged, and the files that are left."""
    disk = Disk()
    disk.put(FOLDER / NAME, data)
    found = Recovered(disk)
    damaged = found.run()
    return found.replayed, damaged, set(disk.content(FOLDER)) - {"stamp"}


KEPT = {NAME.replace(".journal", ".corrupt")}


def test_a_segment_cut_at_any_byte_replays_its_complete_frames() -> None:
    payloads = payloads_of(12, 60)
    data, ends = segment(payloads)
    for cut in range(len(data) + 1):
        complete = sum(end <= cut for end in ends)
        expected = Scan(payloads[:complete], 0, intact=True)
        assert scan(data[:cut], SALT) == expected, f"cut at {cut} of {len(data)}"


def test_a_segment_cut_at_any_byte_is_recovered_and_removed() -> None:
    payloads = payloads_of(4, 30)
    data, ends = segment(payloads)
    for cut in range(len(data) + 1):
        complete = sum(end <= cut for end in ends)
        assert recovered(data[:cut]) == (payloads[:complete], 0, set()), f"cut at {cut} of {len(data)}"


def _check_damage(data: bytes, payloads: list[bytes], hit: list[int], what: str) -> None:
    """Check the scan of a segment in which the frames with the numbers in `hit` are damaged."""
    left = [payload for number, payload in enumerate(payloads) if number not in hit]
    found = scan(data, SALT)
    assert found.payloads == left, what
    assert not found.intact, what
    # Nobody can tell how many frames stood in damage that reaches to the end.
    at_the_end = len(payloads) - 1 in hit
    assert found.damaged == (len([n for n in hit if n < _first_of_end(hit, len(payloads))]) + at_the_end), what


def _first_of_end(hit: list[int], count: int) -> int:
    """Return the first of the damaged frames that stand together at the end, or `count`."""
    first = count
    while first - 1 in hit:
        first -= 1
    return first


def test_any_flipped_bit_costs_no_more_than_its_frame() -> None:
    payloads = payloads_of(12, 40)
    data, ends = segment(payloads)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        hit = [] if bit // 8 < HEADER_BYTES else [sum(end <= bit // 8 for end in ends)]
        _check_damage(bytes(damaged), payloads, hit, f"bit {bit} of {8 * len(data)}")


@pytest.mark.parametrize("longest", [40, 200, 2500])
def test_any_zeroed_block_costs_no_more_than_its_frames(longest: int) -> None:
    payloads = payloads_of(60, longest)
    data, ends = segment(payloads)
    for start in range(0, len(data), 512):
        end = min(start + 512, len(data))
        damaged = data[:start] + bytes(end - start) + data[end:]
        starts = [HEADER_BYTES, *ends[:-1]]
        hit = [n for n in range(len(payloads)) if damaged[starts[n] : ends[n]] != data[starts[n] : ends[n]]]
        _check_damage(damaged, payloads, hit, f"zeros from {start} to {end} of {len(data)}")


def test_a_damaged_segment_is_recovered_but_kept_as_it_is() -> None:
    payloads = payloads_of(6, 30)
    data, ends = segment(payloads)
    places: list[tuple[int, list[int]]] = [(place, []) for place in range(HEADER_BYTES)]
    places += [(place, [sum(end <= place for end in ends)]) for place in range(HEADER_BYTES, len(data))]
    for place, hit in places:
        disk = Disk()
        damaged = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        disk.put(FOLDER / NAME, damaged)
        found = Recovered(disk)
        assert found.run() == len(hit), place
        assert found.replayed == [payload for n, payload in enumerate(payloads) if n not in hit], place
        left = disk.content(FOLDER)
        assert left[NAME.replace(".journal", ".corrupt")] == damaged
        assert set(left) == KEPT | {"stamp"}


def test_zeros_at_the_end_cost_nothing_that_was_written_before() -> None:
    payloads = payloads_of(5, 30)
    data, _ = segment(payloads)
    assert scan(data + bytes(4096), SALT).payloads == payloads


def test_frames_of_an_older_file_in_the_free_space_are_not_replayed() -> None:
    payloads = payloads_of(5, 30)
    data, _ = segment(payloads)
    older = b"".join(frame(b"older", SALT ^ 1, sequence) for sequence in range(20))
    assert scan(data + older, SALT).payloads == payloads
    replaced = scan(data + older[FRAME_BYTES + 5 :], SALT)
    assert replaced.payloads == payloads
    assert not replaced.intact


def test_a_segment_of_random_bytes_raises_nothing() -> None:
    chance = random.Random(11)
    for size in (0, 1, HEADER_BYTES, HEADER_BYTES + 1, 40, 4096):
        for _ in range(20):
            data = chance.randbytes(size)
            assert scan(data, SALT).payloads == [], data.hex()


def test_a_record_that_nobody_can_read_is_counted_and_its_segment_kept() -> None:
    disk = Disk()
    data, _ = segment(payloads_of(3, 30))
    disk.put(FOLDER / NAME, data)
    found = Recovered(disk)
    found.undecodable = 2
    assert found.run() == 2
    assert set(disk.content(FOLDER)) >= KEPT
