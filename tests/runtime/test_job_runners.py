"""The jobs of features that write down what is asked of them; no job needs PostgreSQL until it is taken."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.settings import settings_of
from tracker.features.feature import Feature, FeatureJobs, FeatureMetrics, JobParts
from tracker.jobs.runner import JobRunner
from tracker.runtime import job_runners
from tracker.runtime.job_runners import JobRunners
from tracker.telemetry.families import Family, MetricKind, Sample

NOWHERE = "postgresql://127.0.0.1:1/none"
FILED = Family("tracker_notes_filed_total", MetricKind.COUNTER, "Notes that were filed")

done: list[str] = []


class Runner(JobRunner):
    """Writes down when it starts and ends."""

    def start(self) -> None:
        done.append("runs")

    async def close(self) -> None:
        await asyncio.sleep(0.05)  # as one with jobs in hand
        done.append("has ended")


async def file(_note: bytes) -> None:
    """Do nothing."""


def feature(close: Callable[[], Awaitable[None]] | None = None, *, is_on: bool = True) -> Feature:
    def jobs(parts: JobParts) -> FeatureJobs | None:
        runner = Runner(parts.url, "note", file, concurrency=2, tracer=parts.tracer)
        return FeatureJobs(runners=[runner], samples=lambda: [Sample(FILED, 7)], close=close) if is_on else None

    def metrics() -> FeatureMetrics:
        return FeatureMetrics(families=[FILED], idle_samples=lambda: [Sample(FILED, 0)])

    return Feature(jobs=jobs, metrics=metrics)


async def closes() -> None:
    done.append("is closed")


async def closes_never() -> None:
    await asyncio.sleep(3600)


def run(monkeypatch: pytest.MonkeyPatch, *features: Feature) -> list[Sample]:
    """Run the jobs of these features for a moment; return what they count meanwhile."""
    monkeypatch.setattr(job_runners, "FEATURES", features)
    done.clear()

    async def main() -> list[Sample]:
        runners = JobRunners()
        async with runners.running(settings_of(), url=NOWHERE, tracer=None):
            assert set(done) <= {"runs"}
            return list(runners.samples())

    return asyncio.run(asyncio.wait_for(main(), 60))


def test_a_feature_is_closed_once_its_jobs_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, feature(closes))
    assert done == ["runs", "has ended", "is closed"]


def test_a_feature_that_does_not_close_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, feature(closes), feature(closes_never))
    assert done == ["runs", "runs", "has ended", "has ended", "is closed"]


def test_jobs_that_are_switched_off_count_nothing_and_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Sample(FILED, 0) in run(monkeypatch, feature(is_on=False))
    assert done == []


def test_jobs_that_run_show_what_they_count_and_how_their_calls_end(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, feature())
    assert Sample(FILED, 7) in found
    assert Sample(FILED, 0) not in found
    assert {sample.labels for sample in found if sample.family.name == "tracker_jobs_ended_total"} == {
        ("note", "done"),
        ("note", "again"),
        ("note", "unexpected"),
    }
