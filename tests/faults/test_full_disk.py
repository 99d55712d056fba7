"""A real disk that is really full: a small file system, a real server, PostgreSQL away."""

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database, StartTracker
from tests.runtime.test_start_and_stop import Outage, outage
from tests.support.waiting import wait_until

__all__ = ["outage"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("only root may mount the small file system that this test fills")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"the small file system that this test fills cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run([umount, "--lazy", str(folder)], check=True)


def test_a_full_disk_is_503_until_postgresql_is_back_and_nothing_acknowledged_is_lost(
    small_disk: Path, start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    tracker = start_tracker(
        env={
            "DATABASE_URL": database.url,
            "TRACKER_DATA_DIR": str(small_disk),
            "TRACKER_JOURNAL_MIN_FREE_MB": "0",
        }
    )
    outage.begin()
    cart_id, accepted = str(uuid.uuid4()), set()
    for number in range(3000):
        answer = tracker.post_item({"external_id": f"sku-{number}", "name": "x" * 2000}, cart_id)
        if answer.status_code == 204:
            accepted.add(f"sku-{number}")
        elif len(accepted) > 10:
            break
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert 500 < len(accepted) < 1500
    time.sleep(1)
    assert tracker.client.get("/health/ready").status_code == 503
    assert tracker.client.get("/health/live").status_code == 200
    outage.end()
    wait_until(lambda: tracker.client.get("/health/ready").status_code == 200)
    assert tracker.post_item({"external_id": "after"}, cart_id).status_code == 204
    accepted.add("after")
    assert accepted <= set(database.wait_for_items(cart_id, len(accepted)))
