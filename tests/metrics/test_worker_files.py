"""How the numbers of several processes become one, and what files may be found there."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.support.scrape import parsed
from tracker.ingest.worker_folders import WorkerFolder
from tracker.metrics.exposition import expose
from tracker.metrics.values import Values
from tracker.metrics.worker_files import FILE_NAME, SILENT_S, Workers
from tracker.runtime.metric_sources import all_families, families_by_name
from tracker.telemetry.families import Family, MetricKind, Sample
from tracker.telemetry.histogram import Histogram
from tracker.telemetry.request_counts import ANSWER_BOUNDS_S, RequestCounts
from tracker.telemetry.request_metrics import request_samples

FAMILIES = families_by_name()


def counted(**values: float) -> Values:
    """Return values by names without their beginning."""
    found = Values(FAMILIES)
    found.put(Sample(FAMILIES[f"tracker_{name}"], value) for name, value in values.items())
    return found


def value(found: Values, name: str) -> float:
    return found.found[f"tracker_{name}"][()][0]


@pytest.fixture
def folders(tmp_path: Path) -> list[WorkerFolder]:
    """The folders of three workers of a data folder."""
    made = [WorkerFolder(tmp_path / "workers" / f"{number:04}", number) for number in range(3)]
    for folder in made:
        folder.path.mkdir(parents=True)
    return made


def opened(data_dir: Path, folder: WorkerFolder) -> Workers:
    """Return the workers as the one of `folder` sees them; the folders themselves tell nothing."""
    return Workers(data_dir, folder, FAMILIES, of_each=lambda _: (), of_dead=lambda _: ())


@pytest.fixture
def seen_by_first(tmp_path: Path, folders: list[WorkerFolder]) -> Workers:
    return opened(tmp_path, folders[0])


def grow_old(folder: WorkerFolder) -> None:
    """Let a worker be silent for too long."""
    then = time.time() - SILENT_S - 1
    os.utime(folder.path / FILE_NAME, (then, then))


def test_counters_and_gauges_of_workers_are_added_and_of_some_the_worst_counts(
    tmp_path: Path, folders: list[WorkerFolder], seen_by_first: Workers
) -> None:
    mine = counted(items_accepted_total=3, buffer_items=5, items_oldest_seconds=0.5)
    opened(tmp_path, folders[1]).publish(counted(items_accepted_total=4, buffer_items=6, items_oldest_seconds=7))
    opened(tmp_path, folders[2]).publish(counted(items_accepted_total=1, buffer_items=0, items_oldest_seconds=0))
    total = seen_by_first.total(mine)
    assert value(total, "items_accepted_total") == 8
    assert value(total, "buffer_items") == 11
    assert value(total, "items_oldest_seconds") == 7
    assert value(mine, "items_accepted_total") == 3


def test_of_a_worker_that_is_silent_only_what_it_has_counted_stays(
    tmp_path: Path, folders: list[WorkerFolder], seen_by_first: Workers
) -> None:
    opened(tmp_path, folders[1]).publish(counted(items_accepted_total=4, buffer_items=6))
    grow_old(folders[1])
    total = seen_by_first.total(counted(items_accepted_total=1, buffer_items=1))
    assert value(total, "items_accepted_total") == 5
    assert value(total, "buffer_items") == 1


def test_every_folder_is_asked_and_of_dead_workers_also_what_only_the_dead_leave(
    tmp_path: Path, folders: list[WorkerFolder]
) -> None:
    letters, orphaned = FAMILIES["tracker_dead_letters"], FAMILIES["tracker_journal_orphaned_bytes"]
    size = {folder.path: 10.0**number for number, folder in enumerate(folders)}
    workers = Workers(
        tmp_path,
        folders[0],
        FAMILIES,
        of_each=lambda path: [Sample(letters, size[path])],
        of_dead=lambda path: [Sample(orphaned, size[path])],
    )
    opened(tmp_path, folders[1]).publish(counted(workers=1))
    opened(tmp_path, folders[2]).publish(counted(workers=1))
    grow_old(folders[2])
    total = workers.total(counted(workers=1, journal_orphaned_bytes=5))
    assert value(total, "dead_letters") == 111
    assert value(total, "journal_orphaned_bytes") == 105


def test_a_worker_that_stops_leaves_nothing_that_is_over(
    tmp_path: Path, folders: list[WorkerFolder], seen_by_first: Workers
) -> None:
    opened(tmp_path, folders[1]).leave(counted(items_accepted_total=4, workers=1))
    total = seen_by_first.total(counted(workers=1))
    assert value(total, "items_accepted_total") == 4
    assert value(total, "workers") == 1


def test_the_next_process_in_a_folder_goes_on_from_what_the_last_one_had(
    tmp_path: Path, folders: list[WorkerFolder]
) -> None:
    for times in range(1, 4):
        workers = opened(tmp_path, folders[0])
        for count in range(1, 11):
            workers.publish(counted(items_accepted_total=count, buffer_items=1))
        total = workers.total(counted(items_accepted_total=10, buffer_items=2))
        assert value(total, "items_accepted_total") == 10 * times
        assert value(total, "buffer_items") == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\x00nonsense", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode({"tracker_workers": {"a": "b"}})],
    ids=["empty", "nonsense", "a list", "texts"],
)
def test_a_file_that_cannot_be_read_counts_for_nothing(
    folders: list[WorkerFolder], seen_by_first: Workers, content: bytes
) -> None:
    (folders[1].path / FILE_NAME).write_bytes(content)
    assert value(seen_by_first.total(counted(items_accepted_total=1)), "items_accepted_total") == 1


def test_what_another_version_of_tracker_has_counted_is_taken_as_far_as_it_is_known(
    folders: list[WorkerFolder], seen_by_first: Workers
) -> None:
    other = {
        "tracker_items_accepted_total": {(): [5.0]},
        "tracker_no_such_total": {(): [5.0]},
        "tracker_flush_items": {(): [1.0, 2.0, 3.0]},
        "tracker_payments_total": {(): [1.0], ("paid",): [2.0]},
    }
    (folders[1].path / FILE_NAME).write_bytes(msgspec.msgpack.encode(other))
    total = seen_by_first.total(counted(items_accepted_total=1))
    assert total.found["tracker_items_accepted_total"] == {(): [6.0]}
    assert total.found["tracker_payments_total"] == {("paid",): [2.0]}
    assert "tracker_flush_items" not in total.found
    assert "tracker_no_such_total" not in expose(total, "").content.decode()


def test_a_disk_that_takes_nothing_is_told_of_once_and_shown_all_the_same(
    folders: list[WorkerFolder], seen_by_first: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    (folders[0].path / f"{FILE_NAME}.new").mkdir()
    for count in (1, 2):
        assert value(seen_by_first.total(counted(items_accepted_total=count)), "items_accepted_total") == count
    assert [record.getMessage()[:27] for record in caplog.records] == ["the metrics cannot be kept"]


def test_a_value_stands_in_the_bucket_whose_bound_is_not_below_it() -> None:
    times = Histogram((1, 2, 5))
    for added in (0, 1, 1.5, 2, 5, 6):
        times.add(added)
    assert times.counts == [2, 2, 1, 1]
    assert times.sum == 15.5


def test_a_histogram_is_shown_with_growing_buckets() -> None:
    request_counts = RequestCounts()
    for _ in range(3):
        request_counts.posted(b"/item", 204, time.perf_counter())
    request_counts.answered("GET", "/items", 200, time.perf_counter() - 3)
    request_counts.answered("BREW", "/items", 418, time.perf_counter() - 30)
    found = Values(FAMILIES)
    found.put(request_samples(request_counts))
    shown = parsed(expose(found, "").content.decode())
    bucket = "tracker_http_request_duration_seconds_bucket"
    slow = [shown.value(bucket, method="GET", le=repr(bound)) for bound in ANSWER_BOUNDS_S]
    assert slow == [0.0] * 14 + [1.0, 1.0]
    assert shown.value(bucket, method="other", le="10.0") == 0
    assert shown.value(bucket, method="other", le="+Inf") == 1
    assert shown.value(bucket, route="/item", le="+Inf") == 3


def test_a_sample_of_a_family_that_is_not_shown_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Values(FAMILIES).put([Sample(Family("tracker_nothing", MetricKind.SUM, "Nothing"), 1)])


def test_a_family_is_declared_once() -> None:
    assert len(FAMILIES) == len(all_families())


def named(is_so: Callable[[Family], bool]) -> list[str]:
    return [name for name, family in FAMILIES.items() if is_so(family)]


def test_names_are_as_prometheus_wants_them() -> None:
    assert not named(lambda family: family.name.endswith("_total") != (family.kind is MetricKind.COUNTER))
    assert not named(lambda family: (family.kind is MetricKind.HISTOGRAM) != bool(family.bounds))
    assert not named(lambda family: any(unit in family.name for unit in ("_ms", "_mb", "_minutes")))
    assert not named(lambda family: not family.name.startswith("tracker_") or not family.help)


def test_who_is_never_asked_does_not_load_the_library() -> None:
    code = (
        "import sys, tracker.cli.worker, tracker.runtime.serving_process; sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
