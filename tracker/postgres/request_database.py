"""PostgreSQL as requests use it: an answer in time, also when it does not answer.

What must be written has other connections: a hundred readers must not keep it waiting.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.errors import DatabaseUnavailableError
from tracker.kit.deadlines import Waits
from tracker.postgres.error_classes import Failure, failure_of, shown

REQUEST_TIMEOUT_S: Final = 5.0
"""For all that a request does in one go, the wait for a connection included; then it gets a 503."""

logger = logging.getLogger(__name__)


class RequestDatabase:
    """The connections of the requests."""

    def __init__(self, engine: AsyncEngine, waits: Waits) -> None:
        self._engine = engine
        self._waits = waits

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a transaction, which is committed at the end of the block.

        Raises DatabaseUnavailableError when PostgreSQL does not do it in time; whether it has committed
        is not known then.
        """
        try:
            async with self._waits.within(REQUEST_TIMEOUT_S), self._engine.begin() as connection:
                yield connection
        except (OSError, SQLAlchemyError) as error:  # TimeoutError is an OSError
            failure = failure_of(error)
            if failure is Failure.BAD_DATA:
                raise
            if failure is Failure.BROKEN:
                logger.error("PostgreSQL refuses a request", extra={"error": shown(error)})  # noqa: TRY400  # the trace says nothing
            msg = "the database does not answer in time"
            raise DatabaseUnavailableError(msg) from error
