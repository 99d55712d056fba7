"""When a worker that died is replaced, without processes."""

import random
import subprocess
from unittest.mock import create_autospec

import pytest

from tests.support.waiting import wait_until
from tracker.runtime.supervisor import BACKOFF_CAP_S, _Worker


def test_the_wait_before_a_dead_worker_is_replaced_is_random_from_zero_up_to_a_bound_that_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, float]] = []
    started: list[subprocess.Popen[bytes]] = []

    def no_wait(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    def start() -> subprocess.Popen[bytes]:
        process = create_autospec(subprocess.Popen, instance=True, pid=1, returncode=1)
        process.poll.return_value = 1
        started.append(process)
        return started[-1]

    monkeypatch.setattr(random, "uniform", no_wait)
    worker = _Worker(start)

    def all_started() -> bool:
        worker.look()
        return len(started) == 12

    wait_until(all_started)
    bounds = [high for _, high in asked]
    assert [low for low, _ in asked] == [0] * 11
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[1] < bounds[-1] == BACKOFF_CAP_S
