"""Reads products from a CSV file: a bad line is reported, and reading goes on with the next line.

The file is read as bytes, line by line, so that the number of a line is the one that an editor shows, and
so that a line that is not UTF-8 costs only itself. Nothing but the record in hand is kept in memory.
"""

import csv
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from tracker.errors import InvalidInputError, TrackerError
from tracker.features.catalog.domain import MAX_PRICE, Numbered, Product, check_product

REQUIRED: Final = ("sku", "title", "item_type", "price", "currency")

OPTIONAL: Final = {"description": "", "active": "true"}
"""Columns that may be missing, each with the value that is used then."""

MAX_LINE_BYTES: Final = 128 * 1024
"""Longest line, in bytes: more than three times what the longest product takes, each character of it quoted."""

_PROGRESS_BYTES: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_CENTS: Final = re.compile("[0-9]{1,20}")
_BOOLEANS: Final = {"true": True, "false": False}


class FileError(TrackerError):
    """A file as a whole cannot be used."""


class ProductFile:
    """The products of a CSV in UTF-8, with a header; iterate over it once."""

    def __init__(
        self,
        file: BinaryIO,
        report: Callable[[int, str], None],
        on_read: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Read the header of `file`.

        `report` is told the number of each bad line and what is wrong with it, `on_read` how many more
        bytes were read. Raises FileError when the header is no good.
        """
        self._lines = _Lines(file, on_read)
        self._records: Iterator[list[str]] = csv.reader(self._lines, strict=True)
        self._report = report
        self._columns = self._header()

    def __iter__(self) -> Iterator[Numbered]:
        """Yield the products; raise FileError when the file cannot be read on."""
        while True:
            number = self._lines.number + 1
            try:
                record = next(self._records, None)
                if record is None:
                    return
                if not record:  # a blank line
                    continue
                product = self._product(number, record)
            except csv.Error as error:
                self._report(number, self._unreadable(number, error))
            except InvalidInputError as error:
                self._report(number, str(error))
            else:
                yield number, product

    def _header(self) -> list[str]:
        try:
            columns = next(filter(None, self._records), None)
        except csv.Error as error:
            raise FileError(f"the header is not CSV: {_reason(error)}") from None
        if columns is None:
            raise FileError(f"the file is empty: the first line must name the columns {', '.join(REQUIRED)}")
        if self._lines.last_undecodable:
            raise FileError("the header is not UTF-8")
        for what, names in (
            ("are unknown", [column for column in columns if column not in (*REQUIRED, *OPTIONAL)]),
            ("are missing", [column for column in REQUIRED if column not in columns]),
            ("are named twice", sorted({column for column in columns if columns.count(column) > 1})),
        ):
            if names:
                known = f"{', '.join(REQUIRED)} and, if wanted, {', '.join(OPTIONAL)}"
                raise FileError(f"columns {what}: {', '.join(map(repr, names))}; the header must name {known}")
        return columns

    def _product(self, number: int, record: list[str]) -> Product:
        if len(record) != len(self._columns):
            rule = f"must have {len(self._columns)} columns, as the header has; it has {len(record)}"
            raise InvalidInputError("", rule)
        values = OPTIONAL | dict(zip(self._columns, record, strict=True))
        if self._lines.last_undecodable >= number:
            _check_decoded(values)
        product = Product(
            sku=values["sku"],
            title=values["title"],
            description=values["description"],
            item_type=values["item_type"],
            price=_cents(values["price"]),
            currency=values["currency"],
            active=_boolean(values["active"]),
        )
        check_product(product)
        return product

    def _unreadable(self, number: int, error: csv.Error) -> str:
        last = self._lines.number
        swallowed = f"; lines {number} to {last} are passed over" if last > number else ""
        return f"is not CSV: {_reason(error)}{swallowed}"


class _Lines:
    """The lines of a file as text, counted."""

    def __init__(self, file: BinaryIO, on_read: Callable[[int], None]) -> None:
        self._file = file
        self._on_read = on_read
        self._unsaid_bytes = 0
        self.number = 0
        """Number of the last line that was read; the first line is 1."""
        self.last_undecodable = 0
        """Number of the last line that was not UTF-8; its other bytes became lone surrogates."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._read()
        if not line:
            self._on_read(self._unsaid_bytes)
            self._unsaid_bytes = 0
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._read()
            raise csv.Error(f"a line is longer than {MAX_LINE_BYTES} bytes")
        if self.number == 1:
            line = line.removeprefix(_BOM)
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.last_undecodable = self.number
            return line.decode(errors="surrogateescape")

    def _read(self) -> bytes:
        try:
            line = self._file.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise FileError(f"the file cannot be read: {error.strerror}") from error
        self._unsaid_bytes += len(line)
        if self._unsaid_bytes > _PROGRESS_BYTES:
            self._on_read(self._unsaid_bytes)
            self._unsaid_bytes = 0
        return line


def _reason(error: csv.Error) -> str:
    return str(error).partition(" - ")[0]  # what follows is advice for programmers


def _check_decoded(values: dict[str, str]) -> None:
    for column, value in values.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(column, "must be UTF-8") from None


def _cents(text: str) -> int:
    if not _CENTS.fullmatch(text):
        raise InvalidInputError("price", f"must be an integer number of cents from 0 to {MAX_PRICE}")
    return int(text)


def _boolean(text: str) -> bool:
    found = _BOOLEANS.get(text.lower())
    if found is None:
        raise InvalidInputError("active", "must be true or false")
    return found
