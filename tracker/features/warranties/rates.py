"""The rate table: the price of a warranty and how long it lasts, by the type and the cost of the item.

It is a file, as a store's people change it and not its engineers; all of it is checked when Tracker starts. The version
that a warranty keeps is that of the file and a digest of its contents: two tables do not pass for one.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from tracker.errors import ConfigurationError
from tracker.features.warranties.domain import MAX_COST_CENTS

DIGEST_CHARS: Final = 8
"""Characters of the digest of the contents in the version: enough to tell tables apart that somebody has written."""


class Terms(NamedTuple):
    """The terms of a warranty for one item."""

    months: int
    price: int
    """Price of the warranty, in cents."""
    version: str


class Bracket(Struct, frozen=True, forbid_unknown_fields=True):
    """A bracket of item costs, from `begin` on, and how long a warranty lasts in it."""

    begin: Annotated[int, Meta(ge=0, le=MAX_COST_CENTS)] = msgspec.field(name="from")
    """Lowest item cost of the bracket, in cents; the file calls it `from`."""
    months: Annotated[int, Meta(ge=1, le=600)]


class Rate(Struct, frozen=True, forbid_unknown_fields=True):
    """The rates for one type of item."""

    percent: Decimal
    """Price of a warranty as a percentage of the item's cost."""
    minimum: Annotated[int, Meta(ge=0, le=MAX_COST_CENTS)]
    """Lowest price of a warranty, in cents."""
    months: Annotated[tuple[Bracket, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Check the rules that the types cannot express."""
        if not self.percent.is_finite() or not 0 < self.percent <= 100 or self.percent != round(self.percent, 2):  # noqa: PLR2004  # percent
            raise ValueError("percent must be above 0 and at most 100, with at most two digits behind the point")
        begins = [bracket.begin for bracket in self.months]
        if begins[0] != 0 or begins != sorted(set(begins)):
            raise ValueError("months must begin with `from = 0`, and each `from` must be greater than the one before")


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of the whole file."""

    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,32}\Z")]
    default: Rate
    types: dict[Annotated[str, Meta(min_length=1)], Rate] = {}


class Rates:
    """A valid rate table, which gives the terms for an item."""

    def __init__(self, table: Table) -> None:
        self._default = table.default
        self._types = {name.casefold(): rate for name, rate in table.types.items()}
        digest = hashlib.sha256(msgspec.json.encode(table, order="deterministic")).hexdigest()
        self._version = f"{table.version}-{digest[:DIGEST_CHARS]}"

    def terms_of(self, item_type: str, cost_cents: int) -> Terms:
        """Return the terms for an item of this type that costs so many cents."""
        rate = self._types.get(item_type.casefold(), self._default)
        hundredths = int(rate.percent * 100)
        price = max(rate.minimum, (cost_cents * hundredths + 5_000) // 10_000)
        return Terms(_months(rate.months, cost_cents), price, self._version)


def load_rates(path: Path | None) -> Rates:
    """Read the table at `path`, or the one that comes with Tracker; raise ConfigurationError if it is not valid."""
    source = resources.files("tracker.features.warranties") / "rates.toml" if path is None else path
    try:
        contents = tomllib.loads(source.read_text(encoding="utf-8"), parse_float=Decimal)
        table = msgspec.convert(contents, Table)
        names = [name.casefold() for name in table.types]
        if len(names) != len(set(names)):
            raise ValueError("two types differ in case alone")  # noqa: TRY301  # told like the others
    except (OSError, ValueError, RecursionError) as error:  # ValueError: of TOML, UTF-8 and msgspec too
        shown = "the rate table that comes with Tracker" if path is None else f"TRACKER_WARRANTY_RATES={path}"
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{shown} cannot be used: {reason}") from None
    return Rates(table)


def _months(brackets: Sequence[Bracket], cost_cents: int) -> int:
    return next(bracket.months for bracket in reversed(brackets) if bracket.begin <= cost_cents)
