"""Warranties one transaction each: Tracker's own connection, fast lane, checks and statements, without the groups.

Nothing else is left out, and nothing added: it differs from Tracker in that each request commits by itself, on one of
`BENCH_POOL` connections, and in that it keeps no stamp for the next start.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from tracker.features.warranties.domain import Sale, Warranty, check_sale
from tracker.features.warranties.fast_lane import WarrantyFastLane
from tracker.features.warranties.rates import load_rates
from tracker.features.warranties.routes import create_warranty
from tracker.features.warranties.service import Warranties
from tracker.kit.clock import Stamper, SystemClock
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.engine import create_engine, dispose
from tracker.postgres.request_database import TRANSACTION_TIMEOUT_S, RequestDatabase
from tracker.runtime.features import load_settings
from tracker.runtime.job_runners import JobRunners
from tracker.settings import DatabaseSettings, ProcessSettings, Switch
from tracker.web.fast_lane.interface import Answerer, FastLanes, Headers, Peer
from tracker.web.limits import MAX_BODY_BYTES
from tracker.web.middleware.browser_policy import BrowserPolicy
from tracker.web.problems import EXCEPTION_HANDLERS
from tracker.web.server.connection import protocol


class EachByItself(Warranties):
    """Warranties that wait for no others."""

    def create(self, sale: Sale) -> asyncio.Future[Warranty]:
        """Create the warranty for a sale in a transaction of its own."""
        check_sale(sale)
        return asyncio.ensure_future(self._create(sale))

    async def _create(self, sale: Sale) -> Warranty:
        async with self._timeouts.within(TRANSACTION_TIMEOUT_S):
            [result] = await self._commit([self._made(sale)])
        if isinstance(result, Exception):
            raise result
        return result


@contextlib.asynccontextmanager
async def lifespan(application: Litestar) -> AsyncIterator[None]:
    """Connect, and run the jobs if the settings say so."""
    settings = load_settings(os.environ)
    url = str(settings[DatabaseSettings].database_url)
    engine = create_engine(url, pool_size=int(os.environ["BENCH_POOL"]))
    timeouts = RequestTimeouts()
    database = RequestDatabase(engine, timeouts)
    application.state.warranties = EachByItself(
        writing=database,
        reading=database,
        timeouts=timeouts,
        stamper=Stamper(SystemClock(), worker=0),
        keep_stamp=lambda: None,
        rates=load_rates(None),
    )
    application.state.lanes = WarrantyFastLane(application.state.warranties, BrowserPolicy(None, None)).by_path
    async with (
        JobRunners().running(settings, url=url, tracer=None)
        if settings[ProcessSettings].jobs is Switch.ON
        else contextlib.nullcontext()
    ):
        yield
    await dispose(engine)


def warranties_of(state: State) -> Warranties:
    """Return what the route depends on."""
    found: Warranties = state.warranties
    return found


app = Litestar(
    [create_warranty],
    dependencies={"warranties": Provide(warranties_of, sync_to_thread=False)},
    exception_handlers=EXCEPTION_HANDLERS,
    request_max_body_size=MAX_BODY_BYTES,
    lifespan=[lifespan],
    openapi_config=None,
    logging_config=None,
)


def lane(headers: Headers, peer: Peer) -> Answerer | None:
    """Do what the lane of the warranties does, once these have been connected."""
    lanes: FastLanes = app.state.lanes
    return lanes[b"/warranties"](headers, peer)


def main() -> None:
    """Serve on the port that the command line names, with the connection and the lane that Tracker has."""
    http: Any = protocol({b"/warranties": lane})
    uvicorn.run(
        app, port=int(sys.argv[1]), http=http, loop="uvloop", ws="none", access_log=False, log_level="warning",
        server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
