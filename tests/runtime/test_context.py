"""The parts of a serving process, with features that write down what is asked of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from litestar.di import Provide
from sqlalchemy import text

from tests.conftest import Database
from tests.support.settings import settings_of
from tracker.features.feature import Feature, FeatureMetrics, FeatureServing, ServingParts
from tracker.ingest.items import CartId, ItemWrite
from tracker.ingest.worker_folders import WorkerFolder
from tracker.postgres.request_database import RequestDatabase
from tracker.runtime import application, context, metric_sources
from tracker.runtime.context import Context
from tracker.telemetry.families import Family, MetricKind
from tracker.telemetry.request_counts import RequestCounts
from tracker.web.dependencies import given
from tracker.web.fast_lane.interface import Answerer, FastLane, Headers, Peer

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")
NOWHERE = "postgresql://127.0.0.1:1/none"

Serve = Callable[[ServingParts], FeatureServing]


@pytest.fixture
def new_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Context]:
    """Return what makes a context with these features alone."""

    def make(*serve: Serve, url: str = NOWHERE) -> Context:
        monkeypatch.setattr(context, "FEATURES", [Feature(serve=one) for one in serve])
        return Context(settings_of(data_dir=tmp_path), url=url, folder=WorkerFolder(tmp_path, 0))

    return make


async def shown(database: RequestDatabase, setting: str) -> str:
    async with database.transaction() as connection:
        found: str = (await connection.execute(text(f"SHOW {setting}"))).scalar_one()
        return found


def test_a_stop_has_features_finish_while_postgresql_can_be_used_and_close_once_all_is_stored(
    database: Database, new_context: Callable[..., Context]
) -> None:
    done: list[str] = []

    def serve(name: str, parts: ServingParts) -> FeatureServing:
        async def finish() -> None:
            assert await shown(parts.database, "server_encoding") == "UTF8"
            assert await shown(parts.write_database, "server_encoding") == "UTF8"
            parts.pipeline.intake.take(ItemWrite(CART, name, None, None, 1))
            done.append(f"{name} finishes")

        async def close() -> None:
            assert not parts.pipeline.intake.ready
            done.append(f"{name} closes")

        return FeatureServing(finish=finish, close=close)

    async def main() -> None:
        parts = new_context(lambda parts: serve("a", parts), lambda parts: serve("b", parts), url=database.url)
        async with parts.running():
            assert done == []

    asyncio.run(main())
    assert done == ["a finishes", "b finishes", "a closes", "b closes"]
    assert {*database.items(CART)} == {"a", "b"}


@pytest.mark.parametrize("fails", [True, False])
def test_a_feature_that_does_not_close_in_order_keeps_no_other_from_it(
    database: Database, new_context: Callable[..., Context], *, fails: bool
) -> None:
    closed: list[str] = []

    async def close_badly() -> None:
        if fails:
            raise OSError("gone")
        await asyncio.sleep(3600)

    async def close() -> None:
        closed.append("b")

    def serve(close: Callable[[], Awaitable[None]]) -> Serve:
        return lambda _: FeatureServing(close=close)

    async def main() -> None:
        async with new_context(serve(close_badly), serve(close), url=database.url).running():
            pass

    asyncio.run(asyncio.wait_for(main(), 60))
    assert closed == ["b"]


def test_a_request_waits_for_a_lock_for_a_second_and_what_is_written_for_longer(
    database: Database, new_context: Callable[..., Context]
) -> None:
    async def main() -> tuple[str, str]:
        parts = new_context(url=database.url)
        async with parts.running():
            return await shown(parts.database, "lock_timeout"), await shown(parts.parts.write_database, "lock_timeout")

    assert asyncio.run(main()) == ("1s", "15s")


def test_a_second_fast_lane_for_one_path_is_refused(new_context: Callable[..., Context]) -> None:
    def lane(_headers: Headers, _peer: Peer) -> Answerer | None:
        return None

    lanes: dict[bytes, FastLane] = {b"/item": lane}
    new_context(lambda _: FeatureServing(lanes=lanes))
    with pytest.raises(ValueError, match="a fast lane named b'/item' is handed out twice"):
        new_context(lambda _: FeatureServing(lanes=lanes), lambda _: FeatureServing(lanes=lanes))


@pytest.mark.parametrize("names", [("carts", "carts"), ("carts", "metrics")])
def test_a_second_dependency_of_one_name_is_refused(
    names: tuple[str, str], new_context: Callable[..., Context]
) -> None:
    def serve(name: str) -> Serve:
        dependencies: dict[str, Provide] = {name: given(name)}
        return lambda _: FeatureServing(dependencies=dependencies)

    parts = new_context(*map(serve, names))
    with pytest.raises(ValueError, match=f"a dependency named '{names[1]}' is handed out twice"):
        application.create_app(parts, None)


def test_a_second_metric_family_of_one_name_is_refused(
    new_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    families = [Family("tracker_notes", MetricKind.SUM, "Notes")]
    feature = Feature(metrics=lambda: FeatureMetrics(families=families))
    monkeypatch.setattr(metric_sources, "FEATURES", [feature, feature])
    with pytest.raises(ValueError, match="a metric family named 'tracker_notes' is handed out twice"):
        application.create_app(new_context(), RequestCounts())
