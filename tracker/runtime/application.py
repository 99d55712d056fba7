"""The application: the only module that knows every feature."""

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import metadata
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from tracker.errors import NotConfiguredError
from tracker.features.carts import routes as carts_routes
from tracker.features.catalog import routes as catalog_routes
from tracker.features.checkout import routes as checkout_routes
from tracker.features.checkout.service import Checkout
from tracker.features.customer_carts import routes as customer_routes
from tracker.features.examples import MODELS
from tracker.features.identity import routes as identity_routes
from tracker.features.warranties import routes as warranties_routes
from tracker.ingest.folder_metrics import DeadLetterCounts, orphaned_samples
from tracker.kit.clock import Clock, SystemClock
from tracker.kit.files import Files, SystemFiles
from tracker.kit.worker_folders import WorkerFolder
from tracker.metrics.database_values import DatabaseValues
from tracker.metrics.routes import show_metrics
from tracker.metrics.service import Metrics
from tracker.metrics.worker_files import Workers
from tracker.runtime.context import Context, open_context
from tracker.runtime.job_runners import Jobs, running_jobs
from tracker.runtime.metric_sources import FAMILIES, database_sources, job_samples, process_samples
from tracker.settings import Settings, Switch
from tracker.telemetry.request_counts import Traffic
from tracker.telemetry.request_metrics import request_samples
from tracker.web.health_routes import live, ready
from tracker.web.middleware.browser_policy import Guard, Guarded
from tracker.web.middleware.request_log import Edge
from tracker.web.openapi.document import openapi_config
from tracker.web.options_method import answer_options
from tracker.web.problems import EXCEPTION_HANDLERS, MAX_BODY_BYTES
from tracker.web.rate_limit import RateLimits


class _Application(Litestar):
    """Litestar with the plugin for msgspec alone.

    It adds those for pydantic and attrs wherever these are installed, as other libraries need them, and loads all of
    both for it, pydantic's first version too: 0.06 s of a start and 10 MiB, for types that no route of ours has. It
    asks nobody about that: the method is its own (2.25), and a test tells when it goes.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_app(
    settings: Settings,
    *,
    url: str,
    folder: WorkerFolder,
    clock: Clock | None = None,
    files: Files | None = None,
    traffic: Traffic | None = None,
) -> Litestar:
    """Return the application for the migrated database at `url`, with its journal in `folder`.

    Whoever serves it counts the requests in `traffic`.
    `clock` and `files` are the machine's own, unless a test passes others.
    """
    watched = settings.metrics is Switch.ON
    clock = clock or SystemClock()

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        metrics = Metrics(FAMILIES)
        async with (
            metrics.published(_workers(settings, folder)) if watched else contextlib.nullcontext(),
            open_context(settings, url=url, folder=folder, clock=clock, files=files or SystemFiles()) as context,
            running_jobs(settings, url=url) if settings.jobs is Switch.ON else contextlib.nullcontext(Jobs()) as jobs,
        ):
            metrics.watch(
                partial(request_samples, traffic or Traffic()),
                partial(process_samples, context),
                partial(job_samples, jobs),
                stored=DatabaseValues(context.database, FAMILIES, database_sources()),
            )
            app.state.context = context
            app.state.metrics = metrics
            yield
            await metrics.close()

    guard = Guard(settings.allowed_origins, settings.allowed_hosts)
    limits = RateLimits(clock, per_address=settings.rate_per_address, per_cart=settings.rate_per_cart)
    app = _Application(
        route_handlers=[
            carts_routes.add_item,
            carts_routes.add_product,
            carts_routes.list_items,
            customer_routes.create_cart,
            customer_routes.claim_cart,
            customer_routes.list_carts,
            customer_routes.show_cart,
            customer_routes.put_item,
            customer_routes.delete_item,
            checkout_routes.check_out,
            checkout_routes.show_order,
            checkout_routes.hear_stripe,
            catalog_routes.show_catalog,
            identity_routes.log_in,
            identity_routes.come_back,
            identity_routes.log_out,
            identity_routes.who_am_i,
            warranties_routes.create_warranty,
            warranties_routes.list_warranties,
            warranties_routes.show_warranty,
            live,
            ready,
            *([show_metrics] if watched else []),
        ],
        dependencies={
            **{name: _part(name) for name in ("carts", "customer_carts", "catalog", "identity", "warranties")},
            "checkout": Provide(_checkout, sync_to_thread=False),
            "customer": Provide(identity_routes.customer_of_request),
            "metrics": Provide(_metrics, sync_to_thread=False),
            "accepts_items": Provide(_accepts_items, sync_to_thread=False),
            "limits": Provide(lambda: limits, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=openapi_config(metadata.version("tracker"), MODELS),
        on_app_init=[answer_options],
        logging_config=None,
        state=State({"guard": guard, "limits": limits}),
    )
    # Around all of it, as Litestar's CORS is: its middlewares do not see what has no route.
    app.asgi_handler = Edge(Guarded(app.asgi_handler, guard))
    return app


def _workers(settings: Settings, folder: WorkerFolder) -> Workers:
    return Workers(settings.data_dir, folder, FAMILIES, of_each=DeadLetterCounts().samples, of_dead=orphaned_samples)


def _part(name: str) -> Provide:
    """Return the dependency that is a part of the context."""

    def part(state: State) -> Any:  # noqa: ANN401  # the handler says which part it takes
        return getattr(state.context, name)

    return Provide(part, sync_to_thread=False)


def _metrics(state: State) -> Metrics:
    metrics: Metrics = state.metrics
    return metrics


def _checkout(state: State) -> Checkout:
    checkout: Checkout | None = state.context.checkout
    if checkout is None:
        raise NotConfiguredError("nobody can pay: set TRACKER_PAYMENT to sandbox or stripe")
    return checkout


def _accepts_items(state: State) -> Callable[[], bool]:
    context: Context = state.context
    return lambda: context.carts.ready
