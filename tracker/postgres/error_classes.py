"""Classes of PostgreSQL errors by what to do about them: try again, try again slowly, or look for the bad row.

The classes are those of SQLSTATE (PostgreSQL's manual, appendix A).
"""

import enum
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tracker.errors import TrackerError


class Failure(enum.Enum):
    """Classes of errors, by the reaction that they need."""

    TRANSIENT = "transient"
    """An error after which the same call may succeed at any moment.

    PostgreSQL is away, overloaded, or has chosen this transaction as a victim.
    """

    BROKEN = "broken"
    """An error after which somebody must first repair the schema, the rights or the password. The data is good."""

    BAD_DATA = "bad data"
    """An error because of a row that PostgreSQL will never take."""


_BAD_DATA: Final = ("22", "23", "54000", "P0001")
"""First characters of the SQLSTATEs of bad data.

They stand for data exceptions, broken constraints, a key too long for its index, and errors that a trigger raises.
"""

_BROKEN: Final = ("42", "28", "3D000", "3F000")
"""First characters of the SQLSTATEs of a broken database.

They stand for syntax and access rules, authentication, no such database, and no such schema.
"""


class FollowUpError(Exception):
    """Data that follows from a batch cannot be written; the cause says why. The batch itself may be good."""


OF_POSTGRES: Final = (
    OSError,
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    FollowUpError,
    TrackerError,
)
"""Types of errors that come from PostgreSQL or from the way to it; any other error is a mistake in Tracker."""


def first_line(error: Exception) -> str:
    """Return the first line of an error from PostgreSQL or the network, to show it to the user of a command."""
    cause = getattr(error, "orig", None) or error
    return str(cause).partition("\n")[0] or type(cause).__name__


def loggable(error: Exception) -> str:
    """Return the text that the log may show for an error.

    It is the error's name and, if the error comes from PostgreSQL or the network, its first line. It never holds the
    values of a row: PostgreSQL quotes them in its DETAIL and in errors about bad data, asyncpg where it refuses a row.
    """
    while isinstance(error, FollowUpError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    is_bad_data = failure_of(error) is Failure.BAD_DATA
    inner: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        inner = error.orig.__cause__ or error.orig
    name, sqlstate = type(inner).__name__, getattr(inner, "sqlstate", None)
    if sqlstate is not None:
        name = f"{name} ({sqlstate})"
    if is_bad_data or str(sqlstate).startswith(_BAD_DATA) or not isinstance(error, OF_POSTGRES):
        return name
    return f"{name}: {str(inner).partition(chr(10))[0]}"


def failure_of(error: Exception) -> Failure:
    """Return the class of `error`, which a write raised.

    An error that does not show its class is TRANSIENT: a killed backend gives an InterfaceError without
    a SQLSTATE. Data that asyncpg or Python refuse to encode (a lone surrogate, an integer beyond 64 bits)
    never reached PostgreSQL and is BAD_DATA.
    """
    if isinstance(error, FollowUpError) and isinstance(error.__cause__, Exception):
        found = failure_of(error.__cause__)
        return Failure.BROKEN if found is Failure.BAD_DATA else found
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (UnicodeError, OverflowError)) or (
            isinstance(cause, ValueError) and isinstance(cause, asyncpg.InterfaceError)
        ):
            return Failure.BAD_DATA
        cause = cause.__cause__
    sqlstate = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    if sqlstate is None:
        return Failure.TRANSIENT
    if sqlstate.startswith(_BAD_DATA):
        return Failure.BAD_DATA
    if sqlstate.startswith(_BROKEN):
        return Failure.BROKEN
    return Failure.TRANSIENT
