"""An open-loop load: requests go out at fixed times, whatever the answers do; `python -m tests.benchmarks.openloop`.

wrk waits for an answer before it sends the next request, so a server that stops for a second gets one slow
request per connection instead of thousands (coordinated omission). Here every request has a time at which it
is due, the time to its answer counts from there, and one that finds every connection busy waits with its
clock running. How late the generator itself was is reported beside it: no figure can be better than that.

The requests go out in bursts, half a millisecond apart, and between two of them the generator sleeps: the
kernel notes when each answer came (SO_TIMESTAMPNS). Woken by every answer it needs 31 µs of its core for a
request, in C no less than in Python, because waking up is what costs; asleep between the bursts, 12.
PostgreSQL may have to live on that core as well. (The kernel's stamps are of the wall clock: a step of it
spoils a run.)
"""

import argparse
import contextlib
import gc
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.requests import read_requests
from tests.benchmarks.stats import percentile

CONNECTIONS: Final = 64
WARM_UP_S: Final = 1.0
"""At the same rate, and not counted."""

LAST_ANSWERS_S: Final = 10.0
"""For what is still under way at the end."""

TICK_S: Final = 0.0005
"""Between two bursts."""

LEAST_SLEEP_S: Final = 0.00005
"""So that a generator that is late does not keep PostgreSQL, on the same core, from going on."""

REAL_TIME: Final = os.sched_param(1)
"""Before PostgreSQL on the same core, where the system allows it (to root): a generator that waits for its turn
measures the scheduler."""

SO_TIMESTAMPNS: Final = 35
"""Of Linux; Python does not name it."""

_TIMESTAMP: Final = struct.Struct("@ll")

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Answers(Struct, frozen=True):
    """What an open-loop run saw; times from when a request was due."""

    per_second: float
    """As asked for."""
    answered: int
    unanswered: int
    refused: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_p99_ms: float
    """Of the sending itself."""


class _Generator:
    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._requests = requests
        self._sent = 0
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._due_s: dict[int, float] = {}
        self._received: dict[int, bytes] = {}
        self._idle: deque[int] = deque()
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            connection.settimeout(0)
            self._sockets[connection.fileno()] = connection
            self._idle.append(connection.fileno())
            self._poll.register(connection, select.EPOLLIN)
        self.times_s: list[tuple[float, float]] = []
        """(due, time to the answer)"""
        self.late_s: list[float] = []
        self.refused = 0

    def run(self, per_second: float, seconds: float) -> None:
        """Send at `per_second` for `seconds`, and wait for the last answers."""
        waiting: deque[float] = deque()
        count, released = int(per_second * seconds), 0
        tick_s = time.time()
        give_up_s = tick_s + seconds + LAST_ANSWERS_S
        due_so_far = 0.0
        while (released < count or waiting or self._due_s) and time.time() < give_up_s:
            tick_s += TICK_S
            due_so_far += per_second * TICK_S
            time.sleep(max(LEAST_SLEEP_S, tick_s - time.time()))
            due = min(int(due_so_far), count) - released
            waiting.extend([tick_s] * due)
            released += due
            for descriptor, _ in self._poll.poll(0):
                self._receive(descriptor)
            while waiting and self._idle:
                self._send(waiting.popleft())

    def _send(self, due_s: float) -> None:
        descriptor = self._idle.popleft()
        self._due_s[descriptor] = due_s
        self._received[descriptor] = b""
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        if self._sockets[descriptor].send(request) != len(request):
            raise BenchmarkError("the kernel took only a part of a request")
        self.late_s.append(time.time() - due_s)

    def _receive(self, descriptor: int) -> None:
        data, ancillary, _, _ = self._sockets[descriptor].recvmsg(65536, 64)
        if not data:
            raise BenchmarkError("the server closed a connection")
        data = self._received[descriptor] + data
        self._received[descriptor] = data
        if not is_whole(data):
            return
        due_s = self._due_s.pop(descriptor)
        self.times_s.append((due_s, _came_s(ancillary) - due_s))
        self.refused += data[9:10] != b"2"
        self._idle.append(descriptor)


def _came_s(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Return when the kernel got the data; a few of the first come without that, and count from now."""
    if not ancillary:
        return time.time()
    seconds, nanoseconds = _TIMESTAMP.unpack(ancillary[0][2])
    return float(seconds + nanoseconds / 1e9)


def is_whole(data: bytes) -> bool:
    """Whether `data` is an answer with all of its body."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(end) and (length is None or len(body) >= int(length[1]))


def run(port: int, requests: list[bytes], per_second: float, seconds: float) -> Answers:
    """Send in this process; nothing else should run in it."""
    gc.disable()
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, REAL_TIME)
    generator = _Generator(port, requests)
    generator.run(per_second, WARM_UP_S + seconds)
    skipped = int(WARM_UP_S * per_second)
    times_ms = sorted(taken_s * 1e3 for _, taken_s in sorted(generator.times_s)[skipped:])
    late_ms = sorted(late_s * 1e3 for late_s in generator.late_s[skipped:])
    return Answers(
        per_second=per_second,
        answered=len(times_ms),
        unanswered=int(per_second * (WARM_UP_S + seconds)) - len(generator.times_s),
        refused=generator.refused,
        p50_ms=percentile(times_ms, 50),
        p99_ms=percentile(times_ms, 99),
        p999_ms=percentile(times_ms, 99.9),
        max_ms=percentile(times_ms, 100),
        late_p99_ms=percentile(late_ms, 99),
    )


def begin(port: int, requests: Path, per_second: float, seconds: float) -> subprocess.Popen[str]:
    """Start a process that sends, on this process's cores."""
    return subprocess.Popen(
        [sys.executable, "-m", __spec__.name, str(port), str(requests), str(per_second), str(seconds)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float) -> Answers:
    """Wait for the process and return what it saw."""
    try:
        output, _ = process.communicate(timeout=WARM_UP_S + seconds + LAST_ANSWERS_S + 20)
    except subprocess.TimeoutExpired:
        raise BenchmarkError("the open-loop generator did not end in time") from None
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()
    if process.returncode != 0:
        raise BenchmarkError("the open-loop generator failed")
    return msgspec.json.decode(output, type=Answers)


def main() -> None:
    """Send as the arguments say, and print what was seen as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("requests", type=Path)
    parser.add_argument("per_second", type=float)
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    answers = run(arguments.port, read_requests(arguments.requests), arguments.per_second, arguments.seconds)
    sys.stdout.write(msgspec.json.encode(answers).decode())


if __name__ == "__main__":
    main()
