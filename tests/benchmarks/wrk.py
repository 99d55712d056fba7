"""wrk as the load: closed loop, 64 connections, as many requests as the contestant answers."""

import subprocess
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.machine import find_wrk

CONNECTIONS: Final = 64
MARGIN_S: Final = 30.0
"""Beyond its time, after which wrk counts as hung."""

_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


class Load(Struct, frozen=True):
    """What wrk saw; times from sending a request to its answer."""

    requests: int
    seconds: float
    refused: int
    """Answers of 400 and above."""
    broken: int
    """Connections that failed, and time-outs."""
    p50_ms: float
    p99_ms: float
    p999_ms: float

    @property
    def per_second(self) -> float:
        """Requests answered per second."""
        return self.requests / self.seconds


def begin(url: str, requests: Path, seconds: float, connections: int = CONNECTIONS) -> subprocess.Popen[str]:
    """Start wrk on this process's cores."""
    whole_s = max(1, round(seconds))
    return subprocess.Popen(
        [find_wrk(), "-t1", f"-c{connections}", f"-d{whole_s}s", "-s", _SCRIPT, url, "--", str(requests)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(wrk: subprocess.Popen[str], seconds: float) -> Load:
    """Wait for wrk and return what it saw; raise BenchmarkError unless it is an answer to every request."""
    try:
        output, _ = wrk.communicate(timeout=seconds + MARGIN_S)
    except subprocess.TimeoutExpired:
        raise BenchmarkError("wrk did not end in time") from None
    finally:
        wrk.kill()  # does nothing to one that has ended
        wrk.wait()
    lines = output.strip().splitlines() or [""]
    try:
        load = msgspec.json.decode(lines[-1], type=Load)
    except msgspec.DecodeError:
        raise BenchmarkError(f"wrk failed: {lines[-1] or wrk.returncode}") from None
    if load.requests == 0:
        raise BenchmarkError("wrk got no answer at all")
    return load


def drive(url: str, requests: Path, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Send for `seconds` and return what wrk saw."""
    return finish(begin(url, requests, seconds, connections), seconds)
