"""An open-loop load: requests go out at fixed times, whatever the answers do; `python -m tests.benchmarks.openloop`.

wrk waits for an answer before it sends the next request, so a server that stops for a second gets one slow
request per connection instead of thousands (coordinated omission). Here every request has a time at which it
is due, the time to its answer counts from there, and one that finds every connection busy waits with its
clock running. How late the generator itself was is reported beside it: no figure can be better than that.

A process of its own with plain sockets and epoll, because an event loop in Python would need most of its core
at half of what Tracker answers. epoll's own time-out counts in milliseconds; select, which waits for the
epoll descriptor, in microseconds.
"""

import argparse
import contextlib
import gc
import os
import re
import select
import socket
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

PRIORITY: Final = -10
"""Before PostgreSQL on the same core, where the system allows it (to root): a generator that waits for its turn
measures the scheduler."""

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
        started_s = time.perf_counter()
        give_up_s = started_s + seconds + LAST_ANSWERS_S
        while released < count or waiting or self._due_s:
            now_s = time.perf_counter()
            if now_s > give_up_s:
                return
            while released < count and (due_s := started_s + released / per_second) <= now_s:
                waiting.append(due_s)
                released += 1
            while waiting and self._idle:
                self._send(waiting.popleft())
            next_s = started_s + released / per_second if released < count else give_up_s
            select.select([self._poll.fileno()], [], [], max(0.0, next_s - time.perf_counter()))
            for descriptor, _ in self._poll.poll(0):
                self._receive(descriptor)

    def _send(self, due_s: float) -> None:
        descriptor = self._idle.popleft()
        self._due_s[descriptor] = due_s
        self._received[descriptor] = b""
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        if self._sockets[descriptor].send(request) != len(request):
            raise BenchmarkError("the kernel took only a part of a request")
        self.late_s.append(time.perf_counter() - due_s)

    def _receive(self, descriptor: int) -> None:
        data = self._sockets[descriptor].recv(65536)
        if not data:
            raise BenchmarkError("the server closed a connection")
        data = self._received[descriptor] + data
        self._received[descriptor] = data
        if not is_whole(data):
            return
        due_s = self._due_s.pop(descriptor)
        self.times_s.append((due_s, time.perf_counter() - due_s))
        self.refused += data[9:10] != b"2"
        self._idle.append(descriptor)


def is_whole(data: bytes) -> bool:
    """Whether `data` is an answer with all of its body."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(end) and (length is None or len(body) >= int(length[1]))


def run(port: int, requests: list[bytes], per_second: float, seconds: float) -> Answers:
    """Send in this process; nothing else should run in it."""
    gc.disable()
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
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
