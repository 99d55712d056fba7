"""Conditions that are written in one way everywhere."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Uuid, func, literal


def among(column: ColumnElement[Any], ids: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that an id is one of `ids`, in one parameter: the statement is the same for any number."""
    return column == func.any(literal(list(ids), ARRAY(Uuid(as_uuid=False))))
