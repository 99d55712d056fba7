"""The carts, as the rest of Tracker sees them: how an item gets in, how it is written, how a cart is shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracker.features.feature import Feature, FeatureServing, ServingParts
from tracker.features.reservations.settings import ReservationSettings
from tracker.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tracker.features.carts.batch_writer import BatchWriter, FollowUp
    from tracker.features.feature_data import FeatureData


def follow_up_of(settings: Settings) -> "FollowUp | None":
    """Return what must be written with each flush, or None if nothing must."""
    if settings[ReservationSettings].reservation_url is None:
        return None
    from tracker.features.carts.batch_writer import FollowUp
    from tracker.features.reservations.service import move, want

    return FollowUp(want, move)


def writer_on(engine: "AsyncEngine", settings: Settings) -> "BatchWriter":
    """Return what writes batches of items by the connections of `engine`."""
    from tracker.features.carts.batch_writer import BatchWriter

    return BatchWriter(engine, follow_up_of(settings))


def serve(parts: ServingParts) -> FeatureServing:
    """Build what serves the carts."""
    from tracker.features.carts import routes
    from tracker.features.carts.examples import EXAMPLES
    from tracker.features.carts.fast_lane import CartFastLanes
    from tracker.features.carts.service import CartReader
    from tracker.features.reservations import store
    from tracker.web.dependencies import given

    is_reserving = parts.settings[ReservationSettings].reservation_url is not None
    intake, limits = parts.pipeline.intake, parts.limits
    carts = CartReader(parts.database, parts.pipeline.aggregator, store.of_cart if is_reserving else None)
    return FeatureServing(
        services=[carts],
        routes=[*routes.tracking_routes(limits), routes.list_items],
        dependencies={"intake": given(intake), "carts": given(carts), "limits": given(limits)},
        examples=EXAMPLES,
        lanes=CartFastLanes(intake, parts.policy, limits).by_path,
    )


def tables() -> "Sequence[Table]":
    """Return the tables."""
    from tracker.features.carts.tables import carts, horizon, items

    return [carts, horizon, items]


def data() -> "FeatureData":
    """Return what is stored of carts and customers."""
    from tracker.features.carts.data import DATA

    return DATA


FEATURE = Feature(tables=tables, serve=serve, data=data)
