"""The application: the only module that knows every feature."""

import contextlib
from collections.abc import AsyncIterator, Callable
from importlib import metadata

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig

from tracker.background import running_jobs
from tracker.carts import routes as carts_routes
from tracker.carts.journal.files import Files, SystemFiles
from tracker.carts.journal.folders import WorkerFolder
from tracker.carts.service import CartService
from tracker.clock import Clock, SystemClock
from tracker.context import open_context
from tracker.http import EXCEPTION_HANDLERS, MAX_BODY_BYTES, live, ready
from tracker.openapi import SchemaPlugin
from tracker.settings import Settings, Switch


def create_app(
    settings: Settings,
    *,
    url: str,
    folder: WorkerFolder,
    clock: Clock | None = None,
    files: Files | None = None,
) -> Litestar:
    """Return the application for the migrated database at `url`, with its journal in `folder`.

    `clock` and `files` are the machine's own, unless a test passes others.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with (
            open_context(
                settings, url=url, folder=folder, clock=clock or SystemClock(), files=files or SystemFiles()
            ) as context,
            running_jobs(settings, url=url) if settings.jobs is Switch.ON else contextlib.nullcontext(),
        ):
            app.state.context = context
            yield

    return Litestar(
        route_handlers=[
            carts_routes.add_item,
            carts_routes.add_product,
            carts_routes.list_items,
            live,
            ready,
        ],
        dependencies={
            "carts": Provide(_carts, sync_to_thread=False),
            "accepts_items": Provide(_accepts_items, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=OpenAPIConfig(
            title="Tracker",
            version=metadata.version("tracker"),
            description="Tracks what shoppers put into their carts.",
            path="/docs",
            render_plugins=[SchemaPlugin(path="/openapi.json")],
            use_handler_docstrings=True,
        ),
        logging_config=None,
    )


def _accepts_items(state: State) -> Callable[[], bool]:
    return lambda: _carts(state).ready


def _carts(state: State) -> CartService:
    carts: CartService = state.context.carts
    return carts
