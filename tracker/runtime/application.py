"""The Litestar application of a serving process: the routes of all features, and what stands around them."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from importlib import metadata

from litestar import Litestar
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from tracker.ingest.folder_metrics import DeadLetterCounts, orphaned_samples
from tracker.metrics.database_values import DatabaseValues
from tracker.metrics.routes import show_metrics
from tracker.metrics.service import Metrics
from tracker.metrics.worker_files import Workers
from tracker.runtime.context import Context
from tracker.runtime.features import by_name
from tracker.runtime.job_runners import JobRunners
from tracker.runtime.metric_sources import database_sources, families_by_name
from tracker.settings import FolderSettings, ProcessSettings, Switch
from tracker.telemetry.request_counts import RequestCounts
from tracker.telemetry.request_metrics import request_samples
from tracker.web import health_routes
from tracker.web.dependencies import given
from tracker.web.limits import MAX_BODY_BYTES
from tracker.web.middleware.browser_policy import BrowserPolicyMiddleware
from tracker.web.middleware.request_log import RequestLogMiddleware
from tracker.web.openapi.document import openapi_config
from tracker.web.openapi.examples import OF_ALL, Examples, joined
from tracker.web.options_method import answer_options
from tracker.web.problems import EXCEPTION_HANDLERS


class _Application(Litestar):
    """Litestar with the plugin for msgspec alone.

    It adds those for pydantic and attrs wherever these are installed, as other libraries need them, and loads all of
    both for it, pydantic's first version too: 0.06 s of a start and 10 MiB, for types that no route of ours has. It
    asks nobody about that: the method is its own (2.25), and a test tells when it goes.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_app(context: Context, request_counts: RequestCounts | None) -> Litestar:
    """Return the application that serves `context`, which runs as long as the application does.

    Whoever serves it counts the requests in `request_counts`; None: they are not counted, and no metrics are shown.
    Raises ValueError if two features hand out dependencies, or metric families, of one name.
    """
    jobs = JobRunners()
    metrics = None if request_counts is None else _metrics(context, request_counts, jobs)

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with (
            contextlib.nullcontext() if metrics is None else metrics.published(),
            context.running(),
            _running(jobs, context),
        ):
            yield
            if metrics is not None:
                await metrics.close()

    app = _Application(
        route_handlers=[
            *(route for serving in context.features for route in serving.routes),
            health_routes.live,
            health_routes.ready,
            *([] if metrics is None else [show_metrics]),
        ],
        dependencies=by_name(
            "dependency",
            [
                *(one for serving in context.features for one in serving.dependencies.items()),
                ("metrics", given(metrics)),
                ("accepts_items", given(lambda: context.pipeline.intake.ready)),
            ],
        ),
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=openapi_config(metadata.version("tracker"), _examples(context)),
        on_app_init=[answer_options],
        logging_config=None,
    )
    # Around all of it, as Litestar's CORS is: its middlewares do not see what has no route.
    app.asgi_handler = RequestLogMiddleware(BrowserPolicyMiddleware(app.asgi_handler, context.policy), context.tracer)
    return app


def _examples(context: Context) -> Examples:
    """Return the examples of all features, and those of no feature."""
    of_features = [serving.examples for serving in context.features if serving.examples is not None]
    return joined([OF_ALL, health_routes.EXAMPLES, *of_features])


def _running(jobs: JobRunners, context: Context) -> contextlib.AbstractAsyncContextManager[None]:
    if context.settings[ProcessSettings].jobs is Switch.OFF:
        return contextlib.nullcontext()
    return jobs.running(context.settings, url=context.url, tracer=context.tracer)


def _metrics(context: Context, request_counts: RequestCounts, jobs: JobRunners) -> Metrics:
    """Return the metrics of a process that serves, with those of the other workers of its data folder."""
    families = families_by_name()
    return Metrics(
        families,
        [partial(request_samples, request_counts), context.samples, jobs.samples],
        stored=DatabaseValues(context.database, families, database_sources()),
        workers=Workers(
            context.settings[FolderSettings].data_dir,
            context.folder,
            families,
            of_each=DeadLetterCounts().samples,
            of_dead=orphaned_samples,
        ),
    )
