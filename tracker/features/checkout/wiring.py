"""The checkout, as the rest of Tracker sees it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from tracker.errors import NotConfiguredError
from tracker.features.carts.wiring import follow_up_of
from tracker.features.checkout.settings import CheckoutSettings
from tracker.features.feature import Feature, FeatureJobs, FeatureMetrics, FeatureServing, JobParts, ServingParts

SETTLING_CONCURRENCY: Final = 10
"""Number of orders that are settled at a time; few orders ever need it."""

if TYPE_CHECKING:
    from sqlalchemy import Table

    from tracker.features.feature_data import FeatureData


def serve(parts: ServingParts) -> FeatureServing:
    """Build what sells carts; without a payment processor its routes say what to set."""
    from litestar.di import Provide

    from tracker.features.checkout import routes
    from tracker.features.checkout.examples import EXAMPLES
    from tracker.features.checkout.jobs import settle_later
    from tracker.features.checkout.metrics import order_samples
    from tracker.features.checkout.payments import processor_of
    from tracker.features.checkout.service import Checkout
    from tracker.web.dependencies import given

    handlers = [routes.check_out, routes.show_order, routes.hear_stripe]
    processor = processor_of(parts.settings[CheckoutSettings])
    if processor is None:
        return FeatureServing(
            routes=handlers,
            dependencies={"checkout": Provide(_nobody_can_pay, sync_to_thread=False)},
            examples=EXAMPLES,
        )
    checkout = Checkout(
        parts.database,
        parts.timeouts,
        parts.pipeline.intake,
        parts.pipeline.stamper,
        processor,
        settle_later=settle_later,
        follow_up=follow_up_of(parts.settings),
    )
    return FeatureServing(
        routes=handlers,
        dependencies={"checkout": given(checkout)},
        examples=EXAMPLES,
        samples=lambda: order_samples(checkout.counts),
        close=processor.close,
    )


def _nobody_can_pay() -> NoReturn:
    raise NotConfiguredError("nobody can pay: set TRACKER_PAYMENT to sandbox or stripe")


def jobs(parts: JobParts) -> FeatureJobs | None:
    """Build the job that settles orders, unless nobody can pay."""
    from tracker.features.checkout.jobs import JOB, Settler
    from tracker.features.checkout.metrics import order_samples
    from tracker.features.checkout.payments import processor_of

    processor = processor_of(parts.settings[CheckoutSettings])
    if processor is None:
        return None
    settler = Settler(parts.engine, processor, follow_up_of(parts.settings))
    runner = parts.runner(JOB, settler.settle, concurrency=SETTLING_CONCURRENCY)
    return FeatureJobs(runners=[runner], samples=lambda: order_samples(settler.counts), close=processor.close)


def metrics() -> FeatureMetrics:
    """Return the metrics of the checkout."""
    from tracker.features.checkout.metrics import FAMILIES, OrderCounts, order_samples

    return FeatureMetrics(families=FAMILIES, idle_samples=lambda: order_samples(OrderCounts()))


def tables() -> "Sequence[Table]":
    """Return the tables."""
    from tracker.features.checkout.tables import order_lines, orders

    return [order_lines, orders]


def data() -> "FeatureData":
    """Return what is stored of carts and customers."""
    from tracker.features.checkout.data import DATA

    return DATA


FEATURE = Feature(settings=CheckoutSettings, tables=tables, serve=serve, jobs=jobs, metrics=metrics, data=data)
