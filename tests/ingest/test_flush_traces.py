"""Which traced request has caused what."""

import time
from collections.abc import Iterable, Mapping, Sequence

import pytest

from tracker.ingest.flush_traces import MAX_TRACED_ITEMS, TracedItems
from tracker.ingest.items import CartId, Item, ItemKey
from tracker.telemetry.tracing import Span
from tracker.telemetry.tracing.otel import MAX_TRACED_PER_S, OpenTelemetry, _context_of, _sampling

A: ItemKey = (CartId("a"), "1")
B: ItemKey = (CartId("b"), "1")


class Flushes:
    """A tracer that keeps what flushes are linked to."""

    def __init__(self) -> None:
        self.links: list[list[str]] = []

    def request(self, headers: Iterable[tuple[bytes, bytes]]) -> Span | None:
        raise NotImplementedError

    def job(self, name: str, headers: Mapping[str, object] | None) -> Span | None:
        raise NotImplementedError

    def linked(self, name: str, traced_items: Sequence[str]) -> Span | None:
        assert name == "flush"
        self.links.append(list(traced_items))
        return None


def test_a_flush_is_linked_to_what_has_put_its_items_and_each_item_belongs_to_the_last() -> None:
    flushes = Flushes()
    traced_items = TracedItems(flushes)
    for key, cause in [(A, "one"), (A, "two"), (B, "three")]:
        traced_items.note(key, cause)
    with traced_items.flushing({A: Item(1)}) as traces:
        traced_items.note(A, "four")
        assert traces == {A: {"traceparent": "two"}}
    with traced_items.flushing({A: Item(2), B: Item(3)}) as traces:
        assert traces == {A: {"traceparent": "four"}, B: {"traceparent": "three"}}
    with traced_items.flushing({A: Item(4)}) as traces:
        assert traces == {}
    assert [sorted(found) for found in flushes.links] == [["one", "two"], ["four", "three"], []]


def test_only_so_many_are_remembered_while_nothing_is_flushed() -> None:
    flushes = Flushes()
    traced_items = TracedItems(flushes)
    keys = [(CartId("a"), str(number)) for number in range(MAX_TRACED_ITEMS + 10)]
    for key in keys:
        traced_items.note(key, "one")
    with traced_items.flushing(dict.fromkeys(keys, Item(1))):
        pass
    traced_items.note(A, "two")
    with traced_items.flushing({A: Item(1)}):
        pass
    assert [len(found) for found in flushes.links] == [MAX_TRACED_ITEMS, 1]


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("", "", (True, 0.01)),
        ("always_on", "0.5", (False, 1.0)),
        ("parentbased_always_off", "", (True, 0.0)),
        ("traceidratio", "0.25", (False, 0.25)),
        ("parentbased_traceidratio", "2", (True, 0.01)),
        ("parentbased_traceidratio", "some", (True, 0.01)),
        ("jaeger_remote", "0.5", (True, 0.5)),
    ],
)
def test_the_variables_of_opentelemetry_say_what_is_traced(
    sampler: str, argument: str, expected: tuple[bool, float]
) -> None:
    assert _sampling({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}) == expected


@pytest.mark.parametrize("traceparent", [None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
def test_only_so_many_requests_are_traced_in_a_second(traceparent: str | None) -> None:
    tracer = OpenTelemetry({"OTEL_TRACES_SAMPLER": "parentbased_always_on"})
    headers = [] if traceparent is None else [(b"traceparent", traceparent.encode())]
    started = time.monotonic()
    traced = sum(tracer.request(headers) is not None for _ in range(10 * MAX_TRACED_PER_S))
    seconds = int(time.monotonic() - started) + 2
    assert MAX_TRACED_PER_S <= traced <= seconds * MAX_TRACED_PER_S
    tracer.close()  # nothing has ended, so there is nothing to send


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "\xff" * 55,
    ],
)
def test_a_traceparent_that_breaks_its_rules_is_passed_over(text: str) -> None:
    assert _context_of(text) is None


@pytest.mark.parametrize("text", ["00-{}-{}-01", "01-{}-{}-01-more"])
def test_a_traceparent_is_read(text: str) -> None:
    found = _context_of(text.format("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))
    assert found is not None
    assert found.is_valid
    assert found.trace_flags.sampled
