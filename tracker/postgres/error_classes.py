"""What to do about an error of PostgreSQL: try again, try again slowly, or look for the bad row.

The classes are those of SQLSTATE (PostgreSQL's manual, appendix A).
"""

import enum
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tracker.errors import TrackerError


class Failure(enum.Enum):
    """What an error asks for."""

    TRANSIENT = "transient"
    """The same call may succeed at any moment: PostgreSQL is away, overloaded, or chose a victim."""

    BROKEN = "broken"
    """Somebody must mend something first: the schema, the rights, the password. The data is good."""

    BAD_DATA = "bad data"
    """A row that PostgreSQL will never take."""


_BAD_DATA: Final = ("22", "23", "54000", "P0001")
"""Data exceptions, broken constraints, a key too long for its index, and what a trigger raises."""

_BROKEN: Final = ("42", "28", "3D000", "3F000")
"""Syntax and access rules, authentication, no such database, no such schema."""


class FollowUpError(Exception):
    """What follows from a batch cannot be written; its cause says why. The batch itself may be good."""


OF_POSTGRES: Final = (
    OSError,
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    FollowUpError,
    TrackerError,
)
"""What an error of PostgreSQL's, or of the way there, comes as; another one is a mistake of ours."""


def first_line(error: Exception) -> str:
    """Return what whoever runs a command is told of an error: the first line of what PostgreSQL or the network said."""
    cause = getattr(error, "orig", None) or error
    return str(cause).partition("\n")[0] or type(cause).__name__


def shown(error: Exception) -> str:
    """Return what the log may say of an error: its name and, if it is PostgreSQL's or the network's, its first line.

    Never the values of a row: PostgreSQL quotes them in its DETAIL and in what it says of bad data, asyncpg where it
    refuses a row.
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
    """Return what `error`, raised by a write, asks for.

    What says nothing of its kind is TRANSIENT: a killed backend gives an InterfaceError without a
    SQLSTATE. What asyncpg or Python refuse to encode (a lone surrogate, an integer beyond 64 bits)
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
