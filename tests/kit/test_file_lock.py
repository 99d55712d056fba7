"""A lock on a file excludes all others until its block ends, and also its children's."""

import subprocess
import threading
from pathlib import Path

from tracker.kit.file_lock import open_lock


def is_free(path: Path) -> bool:
    with open_lock(path) as lock:
        return lock.try_acquire()


def test_a_lock_is_free_until_it_is_taken_and_again_after_its_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with open_lock(path) as lock:
        assert is_free(path)
        assert lock.try_acquire()
        assert lock.try_acquire(), "who has it has it"
        assert not is_free(path)
    assert is_free(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    taken = threading.Event()

    def wait() -> None:
        with open_lock(path) as lock:
            lock.acquire()
            taken.set()

    waiting = threading.Thread(target=wait, daemon=True)
    with open_lock(path) as lock:
        lock.acquire()
        waiting.start()
        assert not taken.wait(0.1)
    assert taken.wait(30)
    waiting.join(30)


def test_a_child_holds_the_lock_that_it_inherits_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with open_lock(path) as lock:
        assert lock.try_acquire()
        heir = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor])
        stranger = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, close_fds=False)
    with stranger:
        with heir:
            assert not is_free(path)
        assert is_free(path), "what is not handed on is not inherited"
