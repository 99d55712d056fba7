"""A shop's order lines, as they stand in a CSV with the columns of the "Online Retail" data set, plain or gzipped.

It needs only what Tracker itself needs: the catalog for trying Tracker out is made from them, without the tools
of the tests.
"""

import contextlib
import csv
import decimal
import gzip
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TextIO

import click


class FormatError(click.ClickException):
    """The file cannot be read as order lines; shown as one line, exit code 1."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an invoice, as it is sent."""

    invoice: str
    external_id: str
    name: str | None
    value: int
    quantity: int

    @property
    def body(self) -> dict[str, object]:
        """The JSON of `POST /item`."""
        return {
            "external_id": self.external_id,
            "name": self.name,
            "value": self.value,
            "quantity": self.quantity,
        }


def read_lines(path: Path, rows: int | None = None) -> list[Line]:
    """Return the lines of `path`, or its first `rows`."""
    reader = None
    try:
        with _open_text(path) as file:
            reader = csv.DictReader(file, strict=True)
            return [_line_of(row) for row in itertools.islice(reader, rows)]
    except KeyError as error:
        raise FormatError(f"{path}: there is no column {error}") from None
    except (OSError, EOFError, csv.Error, TypeError, ValueError, decimal.InvalidOperation) as error:
        where = f"{path}, line {reader.line_num}" if reader else f"{path}"
        raise FormatError(f"{where}: cannot be read: {error!r}") from None


@contextlib.contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield file
    else:
        with path.open(encoding="utf-8", newline="") as file:
            yield file


def _line_of(row: Mapping[str, str]) -> Line:
    return Line(
        invoice=row["InvoiceNo"],
        external_id=row["StockCode"],
        # Spaces around a name are part of it: they are sent, and must come back.
        name=row["Description"] if row["Description"].strip() else None,
        value=cents_of(row["UnitPrice"]),
        # A return has a negative quantity; what was given back is no longer in the cart.
        quantity=max(0, int(row["Quantity"])),
    )


def cents_of(pounds: str) -> int:
    """Return pounds as cents; a half cent is rounded away from zero (0.125 is 13), less to the nearest."""
    return int((Decimal(pounds) * 100).quantize(Decimal(1), decimal.ROUND_HALF_UP))
