"""The application: the only module that knows every feature."""

import contextlib
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from tracker.background import running_jobs
from tracker.carts import customer_routes
from tracker.carts import routes as carts_routes
from tracker.carts.journal.files import Files, SystemFiles
from tracker.carts.journal.folders import WorkerFolder
from tracker.catalog import routes as catalog_routes
from tracker.checkout import routes as checkout_routes
from tracker.checkout.service import Checkout
from tracker.clock import Clock, SystemClock
from tracker.context import Context, open_context
from tracker.errors import NotConfiguredError
from tracker.http import EXCEPTION_HANDLERS, MAX_BODY_BYTES, live, ready
from tracker.identity import routes as identity_routes
from tracker.openapi import SchemaPlugin
from tracker.settings import Settings, Switch
from tracker.warranties import routes as warranties_routes


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
        ],
        dependencies={
            **{name: _part(name) for name in ("carts", "customer_carts", "catalog", "identity", "warranties")},
            "checkout": Provide(_checkout, sync_to_thread=False),
            "customer": Provide(identity_routes.customer_of_request),
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
            components=Components(
                security_schemes={
                    "token": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                    "session": SecurityScheme(
                        type="apiKey",
                        security_scheme_in="cookie",
                        name="session",
                        description="What /login sets; over https its name is __Host-session.",
                    ),
                }
            ),
        ),
        logging_config=None,
    )


def _part(name: str) -> Provide:
    """Return the dependency that is a part of the context."""

    def part(state: State) -> Any:  # noqa: ANN401  # the handler says which part it takes
        return getattr(state.context, name)

    return Provide(part, sync_to_thread=False)


def _checkout(state: State) -> Checkout:
    checkout: Checkout | None = state.context.checkout
    if checkout is None:
        raise NotConfiguredError("nobody can pay: set TRACKER_PAYMENT to sandbox or stripe")
    return checkout


def _accepts_items(state: State) -> Callable[[], bool]:
    context: Context = state.context
    return lambda: context.carts.ready
