import io

import msgspec
import pytest

from tracker.errors import InvalidInputError
from tracker.features.catalog.csv_file import MAX_LINE_BYTES, FileError, ProductFile
from tracker.features.catalog.domain import Product, check_product, words_of

MUG = Product("sku-1", "Mug", "", "gift", 1250, "EUR", active=True)

HEADER = b"sku,title,item_type,price,currency\n"


def read(content: bytes) -> tuple[dict[int, str], dict[int, str]]:
    """Return the SKUs in a file and what is wrong with its other lines, both by line number."""
    bad: dict[int, str] = {}
    return {number: product.sku for number, product in ProductFile(io.BytesIO(content), bad.__setitem__)}, bad


def only(content: bytes) -> Product:
    """Return the one product in a file without a bad line."""
    [(_, product)] = ProductFile(io.BytesIO(content), lambda _, what: pytest.fail(what))
    return product


@pytest.mark.parametrize(
    "changes",
    [
        {"sku": "é" * 127},
        {"title": "x" * 2048},
        {"description": "é" * 8192},
        {"item_type": "x" * 255},
        {"price": 0},
        {"price": 2**63 - 1},
        {"currency": "XXX"},
        {"active": False},
    ],
    ids=lambda changes: str(changes)[:24],
)
def test_a_product_within_its_bounds_is_one(changes: dict[str, object]) -> None:
    check_product(msgspec.structs.replace(MUG, **changes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sku", ""),
        ("sku", "é" * 128),
        ("sku", "a\0"),
        ("title", ""),
        ("title", "x" * 2049),
        ("title", "\0"),
        ("description", "x" * 16385),
        ("description", "\0"),
        ("item_type", ""),
        ("item_type", "x" * 256),
        ("price", -1),
        ("price", 2**63),
        ("currency", ""),
        ("currency", "eur"),
        ("currency", "EURO"),
        ("currency", "EUR\n"),
        ("currency", "ÄÖÜ"),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_a_product_beyond_a_bound_names_the_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_product(msgspec.structs.replace(MUG, **{field: value}))
    assert caught.value.field == field
    assert caught.value.rule.startswith("must ")


def test_words_are_what_stands_between_white_space_and_punctuation() -> None:
    assert words_of("q", "\u2003red  mug\tx'y (BLACK/BLUE)") == ["red", "mug", "x", "y", "BLACK", "BLUE"]


@pytest.mark.parametrize("text", ["", " \t\u2003", "-&'", "a\0b", "x" * 256])
def test_a_search_without_a_word_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        words_of("q", text)


def test_columns_may_come_in_any_order_and_optional_ones_may_be_missing() -> None:
    assert only(b"price,currency,sku,item_type,title\n1250,EUR,sku-1,gift,Mug\n") == MUG
    full = b"active,description,price,currency,sku,item_type,title\r\nFALSE,white,1250,EUR,sku-1,gift,Mug\r\n"
    assert only(full) == msgspec.structs.replace(MUG, description="white", active=False)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert only(b'\xef\xbb\xbf"sku",title,item_type,price,currency\nsku-1,Mug,gift,1250,EUR') == MUG


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (HEADER.replace(b"price,", b"weight,price,color,"), "columns are unknown: 'weight', 'color'"),
        (b"sku,title\n", "columns are missing: 'item_type', 'price', 'currency'"),
        (HEADER.replace(b"title", b"sku,title"), "columns are named twice: 'sku'"),
        (b"\xff\xfes\0k\0u\0", "not UTF-8"),
        (b'"sku,title', "not CSV"),
        (b"sku,title\r" * 20_000, "not CSV"),
    ],
)
def test_a_header_that_is_no_good_ends_the_reading(content: bytes, what: str) -> None:
    with pytest.raises(FileError, match=what):
        read(content)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b",t,g,1,EUR", "sku must be 1 to 255 bytes of UTF-8; it is empty"),
        (b"s,t,g,1.5,EUR", "price must be an integer"),
        (b"s,t,g,-1,EUR", "price must be an integer"),
        (b"s,t,g,,EUR", "price must be an integer"),
        (b"s,t,g, 1,EUR", "price must be an integer"),
        ("s,t,g,\u0661,EUR".encode(), "price must be an integer"),
        (b"s,t,g,9223372036854775808,EUR", "price must be an integer"),
        (b"s,t,g," + b"9" * 5000 + b",EUR", "price must be an integer"),
        (b"s,t,g,1,Euro", "currency must be three capital letters"),
        (b"s,t\0,g,1,EUR", "title must not contain NUL"),
        (b"s,t\xff,g,1,EUR", "title must be UTF-8"),
        (b"s,\xed\xa0\x80,g,1,EUR", "title must be UTF-8"),
        (b"s,t,g,1", "must have 5 columns, as the header has; it has 4"),
        (b"s,t,g,1,EUR,", "must have 5 columns, as the header has; it has 6"),
        (b's,"t"x,g,1,EUR', "is not CSV: ',' expected after '\"'"),
        (b"s,t\rt,g,1,EUR", "is not CSV: new-line character seen in unquoted field"),
        (b"s," + b"x" * MAX_LINE_BYTES + b",g,1,EUR", f"is not CSV: a line is longer than {MAX_LINE_BYTES} bytes"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_bad_line_is_told_with_its_number_and_reason_and_the_others_are_read(line: bytes, what: str) -> None:
    good, bad = read(HEADER + b"first,t,g,1,EUR\n\n" + line + b"\nlast,t,g,1,EUR\n")
    assert good == {2: "first", 5: "last"}
    assert list(bad) == [4]
    assert bad[4].startswith(what)


def test_lines_are_counted_as_an_editor_does_also_behind_quoted_line_breaks() -> None:
    quoted = b'a,"one\ntwo\r\nthree",g,1,EUR\n'
    good, bad = read(HEADER + quoted + b"bad\n" + b'b,"\xff\n",g,1,EUR\n' + b"c,t,g,1,EUR\n")
    assert good == {2: "a", 8: "c"}
    assert list(bad) == [5, 6]


def test_a_quote_that_is_never_closed_costs_what_stands_behind_it_and_no_memory() -> None:
    lines = b"".join(b"sku-%d,t,g,1,EUR\n" % number for number in range(20_000))
    good, bad = read(HEADER + b'a,"t,g,1,EUR\n' + lines)
    assert list(bad) == [2]
    first = min(good)
    assert bad[2] == f"is not CSV: field larger than field limit (131072); lines 2 to {first - 1} are passed over"
    assert first < 9_000
    assert max(good) == 20_002
    assert read(HEADER + b'a,"t,g,1,EUR\nb')[1] == {
        2: "is not CSV: unexpected end of data; lines 2 to 3 are passed over"
    }


def test_a_file_that_cannot_be_read_on_says_so() -> None:
    class Broken(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise OSError(5, "Input/output error")
            return super().readline(size)

    with pytest.raises(FileError, match="Input/output error"):
        list(ProductFile(Broken(HEADER), lambda _, what: pytest.fail(what)))


def test_all_that_was_read_is_told_for_the_progress_bar() -> None:
    content = HEADER + b"".join(b"sku-%d,t,g,1,EUR\n" % number for number in range(20_000))
    steps: list[int] = []
    list(ProductFile(io.BytesIO(content), lambda _, what: pytest.fail(what), steps.append))
    assert sum(steps) == len(content)
    assert len(steps) < 10
