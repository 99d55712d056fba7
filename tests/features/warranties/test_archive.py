"""Every warranty gets its object in the archive: what was asked for, and what was answered."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import Database, StartTracker, Tracker, copied, run_tracker, starter
from tests.support.archives import (
    Object,
    all_done,
    archive_again,
    create,
    id_of,
    jobs,
    object_of,
    objects_in,
    sale,
    store_some,
    working,
)
from tests.support.reservations import worker
from tests.support.s3 import S3, Bucket, s3_server
from tests.support.waiting import wait_until
from tracker.errors import ConfigurationError
from tracker.features.warranties.archive import open_archive
from tracker.features.warranties.settings import WarrantySettings
from tracker.settings import read_group

Archived = Callable[[], dict[str, Object]]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as s3:
        yield s3


@pytest.fixture(scope="module")
def bucket(s3: S3) -> Bucket:
    return s3.bucket("tracker-archive")


@pytest.fixture(scope="module")
def own_database(server_url: str, template: str) -> Iterator[Database]:
    yield from copied(server_url, template)


@pytest.fixture(scope="module")
def archiving(own_database: Database, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """A server that many tests share, each with a type of item of its own."""
    for start in starter(tmp_path_factory.mktemp("archiving")):
        yield start(env={"DATABASE_URL": own_database.url, **bucket.env("/our/warranties")})


@pytest.fixture
def archived(bucket: Bucket) -> Archived:
    """Return what returns the objects that were created since; none was written twice."""
    before = bucket.versions()

    def since() -> dict[str, Object]:
        versions = Counter(bucket.versions())
        versions.subtract(before)
        assert set(versions.values()) <= {0, 1}
        found = bucket.objects(path for path, count in versions.items() if count)
        return {path.removeprefix("our/warranties/"): content for path, content in found.items()}

    return since


def test_unless_set_otherwise_they_are_in_the_data_folder_and_a_repeated_job_leaves_them(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    objects = create(start_tracker(env={"DATABASE_URL": database.url}), 5)
    wait_until(lambda: jobs(database) == 0)
    folder = tmp_path / "archive"
    assert objects_in(folder) == objects
    written_ns = {path: (folder / path).stat().st_mtime_ns for path in objects}
    database.fetch("UPDATE warranties SET item_title = 'as it never was'")
    archive_again(database, [id_of(path) for path in objects])
    wait_until(lambda: jobs(database) == 0)
    assert objects_in(folder) == objects
    assert {path: (folder / path).stat().st_mtime_ns for path in objects} == written_ns


@pytest.mark.parametrize("written", ["a%20b%25c%23d", "a b%25c%23d"])
def test_a_folder_may_have_any_name(database: Database, tmp_path: Path, written: str) -> None:
    ids = store_some(database, 2, created_at=datetime(2024, 2, 29, 23, 59, tzinfo=UTC))
    archive_again(database, ids)
    with working({"DATABASE_URL": database.url, "TRACKER_ARCHIVE_URL": f"file://{tmp_path}/{written}/warranties"}):
        wait_until(lambda: jobs(database) == 0)
    folder = tmp_path / "a b%c#d" / "warranties" / "2024" / "02" / "29"
    assert sorted(path.stem for path in folder.iterdir()) == ids


def test_1000_posts_at_once_leave_20_stores_50_items_1000_warranties_and_1000_objects(
    archiving: Tracker, own_database: Database, archived: Archived
) -> None:
    async def post_all() -> dict[str, Object]:
        async def post(number: int) -> dict[str, Object]:
            request = sale(number, item_type="many")
            async with session.post(f"{archiving.url}/warranties", json=request) as answer:
                assert answer.status == 201, await answer.text()
                return object_of(request, await answer.json())

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            answered = await asyncio.gather(*map(post, range(1000)))
        return {path: content for one in answered for path, content in one.items()}

    objects = asyncio.run(post_all())
    counts = (
        "(SELECT count(*) FROM stores WHERE store_uuid LIKE 'many-%') AS stores",
        "(SELECT count(*) FROM warranty_items WHERE item_type = 'many') AS items",
        "(SELECT count(*) FROM warranties WHERE item_type = 'many') AS warranties",
    )
    assert own_database.fetch(f"SELECT {', '.join(counts)}") == [{"stores": 20, "items": 50, "warranties": 1000}]
    wait_until(lambda: jobs(own_database) == 0)
    assert len(objects) == 1000
    assert archived() == objects


def test_a_repeated_job_changes_nothing_in_a_bucket(
    archiving: Tracker, own_database: Database, bucket: Bucket, archived: Archived
) -> None:
    objects = create(archiving, 3, item_type="repeated")
    wait_until(lambda: jobs(own_database) == 0)
    own_database.fetch("UPDATE warranties SET item_title = 'as it never was' WHERE item_type = 'repeated'")
    archive_again(own_database, [id_of(path) for path in objects])
    wait_until(lambda: jobs(own_database) == 0)
    assert archived() == objects
    assert {bucket.content_type_of(f"our/warranties/{path}") for path in objects} == {"application/json"}


def test_a_repeated_post_is_archived_once(archiving: Tracker, own_database: Database, archived: Archived) -> None:
    request, key = sale(item_type="again"), {"Idempotency-Key": "k"}
    answers = [archiving.client.post("/warranties", json=request, headers=key) for _ in range(3)]
    wait_until(lambda: jobs(own_database) == 0)
    assert archived() == object_of(request, answers[0].json())


def test_what_a_killed_service_has_answered_a_worker_archives(
    start_tracker: StartTracker, database: Database, bucket: Bucket, archived: Archived, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url, **bucket.env("/our/warranties")}
    web = start_tracker(env=env | {"TRACKER_JOBS": "off"})
    objects = create(web, 5, item_type="killed")
    assert jobs(database) == 5
    web.stop(signal.SIGKILL)
    assert archived() == {}
    with worker(env, tmp_path / "worker") as process:
        wait_until(lambda: jobs(database) == 0)
        process.terminate()
        assert process.wait(30) == 0
    assert archived() == objects


def test_what_fails_among_others_gets_a_job_of_its_own(database: Database, tmp_path: Path) -> None:
    old = store_some(database, 2, created_at=datetime(2024, 2, 29, tzinfo=UTC))
    new = store_some(database, 3, created_at=datetime(2026, 2, 28, tzinfo=UTC))
    archive_again(database, [*old, *new])
    folder = tmp_path / "archive"
    (folder / "2024").mkdir(parents=True)
    (folder / "2024" / "02").write_text("in the way")

    def only_old_ones_are_left() -> bool:
        all_done(database)
        left = [row["payload"].decode().split(",") for row in database.fetch("SELECT payload FROM pgqueuer")]
        return sorted(id_ for ids in left for id_ in ids) == old

    with working({"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(tmp_path)}):
        wait_until(only_old_ones_are_left)
        assert sorted(path.stem for path in folder.rglob("*.json")) == new
        (folder / "2024" / "02").unlink()
        wait_until(lambda: all_done(database))
    assert sorted(path.stem for path in folder.rglob("*.json")) == [*old, *new]


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "/a/path",
        "file:relative",
        "file://relative/path",
        "ftp://host/x",
        "http://host/x",
        "memory:///",
        "s3:bucket",
        "s3://",
        "s3:///prefix",
        "s3://key:verysecret@bucket/prefix",
        "s3://bucket/prefix?sig=verysecret",
        "file:///a#b",
        "s3://[bucket/prefix",
    ],
)
def test_what_is_no_archive_is_refused_by_name_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^TRACKER_ARCHIVE_URL is not valid: expected file:///") as raised:
        read_group({"TRACKER_ARCHIVE_URL": url}, WarrantySettings)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["file:///dev/null/x", "s3://buc ket/x", "s3://bucket//x", "az://container/x"])
def test_an_archive_that_cannot_be_opened_is_told_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=r"^TRACKER_ARCHIVE_URL: the warranties cannot be archived there: "):
        open_archive(read_group({"TRACKER_ARCHIVE_URL": url}, WarrantySettings).archive_url, Path("data"))


def test_a_data_folder_that_cannot_hold_the_archive_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"^TRACKER_DATA_DIR: the warranties cannot be archived there: "):
        open_archive(None, tmp_path)


@pytest.mark.parametrize(("command", "url"), [("serve", "file:///dev/null/x"), ("worker", "s3:bucket")])
def test_the_start_ends_with_one_line_if_there_can_be_no_archive(
    command: str, url: str, database: Database, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(tmp_path), "TRACKER_ARCHIVE_URL": url}
    done = run_tracker(command, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tracker: TRACKER_ARCHIVE_URL")
    assert done.stderr.count("\n") == 1
