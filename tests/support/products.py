"""Derives a catalog from a shop's order lines, as `tracker catalog import` takes it.

    python -m tests.support.products ORDER_LINES.csv[.gz] > products.csv

Only lines with a price count: those without are notes of a stock-taking, with "damaged" or "?" for a name.
The last of them names a product and gives its price. What then has no name or costs less than a cent is
left out.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import click

from tests.support.order_lines import Line, read_lines

COLUMNS = ("sku", "title", "item_type", "price", "currency")


class Row(NamedTuple):
    """A line of the catalog."""

    sku: str
    title: str
    item_type: str
    price: int
    currency: str


def products_of(lines: list[Line]) -> Iterator[Row]:
    """Yield a product for each item of the order lines, in the order of their first sale."""
    titles: dict[str, str] = {}
    prices: dict[str, int] = {}
    for line in lines:
        if line.value > 0:
            prices[line.external_id] = line.value
            if line.name is not None:
                titles[line.external_id] = line.name.strip()
    for sku, price in prices.items():
        if sku in titles:
            yield Row(sku, titles[sku], "gift", price, "GBP")


def write_products(path: Path, file: TextIO) -> None:
    """Write the catalog of the order lines in `path` to `file`."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(products_of(read_lines(path)))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(file: Path) -> None:
    """Write the products of the order lines in FILE to standard output, as CSV."""
    write_products(file, sys.stdout)


if __name__ == "__main__":
    main()
