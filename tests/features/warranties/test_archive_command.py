"""`tracker warranties archive` finds what the archive lacks, and repairs it when it is told to."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Database, run_tracker
from tests.support.archives import archive_again, id_of, jobs, store_some, working
from tests.support.ports import free_port
from tests.support.s3 import Bucket, s3_server
from tests.support.waiting import wait_until

DAY = datetime(2024, 2, 29, 12, tzinfo=UTC)
NEXT_DAY = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as s3:
        yield s3.bucket("repaired")


def test_what_was_deleted_and_what_lost_its_job_is_counted_and_then_repaired(
    database: Database, bucket: Bucket
) -> None:
    env = {"DATABASE_URL": database.url, **bucket.env("/w")}
    ids = [*store_some(database, 3, created_at=DAY), *store_some(database, 2, created_at=NEXT_DAY)]
    assert run_tracker("warranties", "archive", "--missing", env=env).stdout == (
        "5 warranties, 5 of them not in the archive; now they are\n"
    )
    before = bucket.objects()
    assert sorted(map(id_of, before)) == ids
    deleted = [path for path in before if id_of(path) in {ids[1], ids[4]}]
    bucket.delete(deleted)
    counted = run_tracker("warranties", "archive", env=env)
    assert counted.stdout == "5 warranties, 2 of them not in the archive; --missing puts them there\n"
    assert bucket.paths() == before.keys() - set(deleted), "counting changes nothing"
    assert jobs(database) == 0
    run_tracker("warranties", "archive", "--missing", env=env)
    assert bucket.objects() == before
    again = run_tracker("warranties", "archive", "--missing", env=env)
    assert (again.returncode, again.stdout) == (0, "5 warranties, 0 of them not in the archive\n")
    assert len(bucket.versions()) == 5 + 2, "what is there is not written again"


def test_many_pages_are_looked_through(database: Database, tmp_path: Path) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(tmp_path)}
    ids = [*store_some(database, 1200, created_at=DAY), *store_some(database, 1300, created_at=NEXT_DAY)]
    archive_again(database, ids[::5])
    with working(env):
        wait_until(lambda: jobs(database) == 0)
    done = run_tracker("warranties", "archive", "--missing", env=env)
    assert done.stdout == "2500 warranties, 2000 of them not in the archive; now they are\n"
    assert sorted(path.stem for path in (tmp_path / "archive").rglob("*.json")) == ids
    assert run_tracker("warranties", "archive", env=env).stdout == "2500 warranties, 0 of them not in the archive\n"


@pytest.mark.parametrize("options", [[], ["--missing"]])
def test_an_archive_that_is_not_there_is_told_in_one_line(database: Database, options: list[str]) -> None:
    store_some(database, 1, created_at=DAY)
    env = {"DATABASE_URL": database.url, **Bucket("b", f"http://127.0.0.1:{free_port()}").env()}
    done = run_tracker("warranties", "archive", *options, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tracker: the archive of the warranties cannot be used: ")
    assert done.stderr.count("\n") == 1
