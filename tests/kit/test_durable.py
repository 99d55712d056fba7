"""What is written durably is synced before it takes its name, and the name after it."""

import os
from pathlib import Path

import pytest

from tracker.kit import durable


class Calls:
    """The syncs and renames that were made, in their order; the paths are relative to `root`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []

        def sync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(root)
            self.made.append(f"sync {path}")

        def rename(path: Path, to: Path) -> None:
            self.made.append(f"rename {path.relative_to(root)} {to.relative_to(root)}")
            path.rename(to)

        monkeypatch.setattr(os, "fsync", sync)
        monkeypatch.setattr(Path, "replace", rename)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(tmp_path, monkeypatch)


def test_a_new_folder_and_those_above_it_are_synced_where_their_names_stand(tmp_path: Path, calls: Calls) -> None:
    durable.make_folder(tmp_path / "a" / "b")
    assert calls.made == ["sync a", "sync ."]
    durable.make_folder(tmp_path / "a" / "c")
    assert calls.made[2:] == ["sync a"]
    durable.make_folder(tmp_path / "a" / "c")
    assert calls.made[3:] == []
    assert (tmp_path / "a" / "c").stat().st_mode & 0o777 == 0o700


def test_a_file_is_replaced_by_one_that_is_safe_already(tmp_path: Path, calls: Calls) -> None:
    path = tmp_path / "kept.jsonl"
    (tmp_path / "kept.jsonl.new").write_bytes(b"what a crash has left, longer than anything that follows")
    for data in (b"the first, longer one", b"the second"):
        durable.replace(path, data)
        assert path.read_bytes() == data
    assert calls.made == ["sync kept.jsonl.new", "rename kept.jsonl.new kept.jsonl", "sync ."] * 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_keeps_its_content_when_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError("the disk is full")

    path = tmp_path / "kept"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        durable.replace(path, b"new")
    assert path.read_bytes() == b"old"
