"""PostgreSQL connections for requests: a request gets its answer in time, also when PostgreSQL does not answer.

Writes of accepted data use other connections: a hundred readers must not make them wait.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.errors import DatabaseUnavailableError
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.error_classes import Failure, failure_of, loggable

TRANSACTION_TIMEOUT_S: Final = 5.0
"""Seconds for one transaction of a request, with the wait for a connection; then the request gets a 503."""

logger = logging.getLogger(__name__)


class RequestDatabase:
    """Gives requests their transactions, each with a time limit."""

    def __init__(self, engine: AsyncEngine, timeouts: RequestTimeouts) -> None:
        self._engine = engine
        self._timeouts = timeouts

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a transaction, which is committed at the end of the block.

        Raises DatabaseUnavailableError when PostgreSQL does not do it in time; whether it has committed
        is not known then.
        """
        try:
            async with self._timeouts.within(TRANSACTION_TIMEOUT_S), self._engine.begin() as connection:
                yield connection
        except (OSError, SQLAlchemyError) as error:  # TimeoutError is an OSError
            failure = failure_of(error)
            if failure is Failure.BAD_DATA:
                raise
            if failure is Failure.BROKEN:
                logger.error("PostgreSQL refuses a request", extra={"error": loggable(error)})  # noqa: TRY400  # the trace says nothing
            msg = "the database does not answer in time"
            raise DatabaseUnavailableError(msg) from error
