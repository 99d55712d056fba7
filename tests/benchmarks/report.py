"""The figures as text: one table for each part that was measured, and the bars at the end."""

from collections.abc import Iterator

from tests.benchmarks.bars import bars_of
from tests.benchmarks.results import Results
from tests.benchmarks.stats import Spread


def lines_of(results: Results) -> Iterator[str]:
    """Yield the report, line by line."""
    yield from _throughput(results)
    yield from _timings(results)
    yield from _storage(results)
    yield from _flushes(results)
    yield from _jobs(results)
    yield from _warranties(results)
    yield from _memory(results)
    for left_out in results.left_out:
        yield f"Left out: {left_out}"
    for failure in results.failures:
        yield f"FAILED: {failure.name}: {failure.reason}"
    yield from _bars(results)


def _shown(spread: Spread | None) -> str:
    return "-" if spread is None else spread.shown()


def _throughput(results: Results) -> Iterator[str]:
    if not results.summaries:
        return
    yield "Throughput, closed loop, 64 connections; median (least-most) of the rounds"
    yield (
        f"  {'contestant':28} {'requests':12} {'requests/s':>24} {'of the limit':>19} {'p50 ms':>7} {'p99 ms':>7}"
        f" {'p99.9':>7} {'CPU µs':>15} {'of the limit':>19} {'busy':>5} {'catches up':>10} {'failed':>6}"
    )
    for line in results.summaries:
        yield (
            f"  {line.title:28} {line.shape:12} {line.per_second.shown(0):>24} {_shown(line.of_limit):>19}"
            f" {line.p50_ms.median:7.2f} {line.p99_ms.median:7.2f} {line.p999_ms.median:7.2f}"
            f" {line.cpu_us.shown(0):>15} {_shown(line.cpu_of_limit):>19} {line.busy.median:5.0%}"
            f" {line.settle_s.median:8.1f} s {line.failed:6}"
        )
    yield ""


def _timings(results: Results) -> Iterator[str]:
    if not results.timings:
        return
    yield "Answer times, open loop, from when a request was due; ms, median (least-most) of the rounds"
    for line in results.timings:
        yield (
            f"  {line.title:28} {line.per_second:7,.0f}/s  p50 {line.p50_ms.shown()}  p99 {line.p99_ms.shown()}"
            f"  p99.9 {line.p999_ms.shown()}  (sent late, p99: {line.late_p99_ms.median:.2f}; failed: {line.failed})"
        )
    yield ""


def _storage(results: Results) -> Iterator[str]:
    if seen := results.visible:
        yield f"From the answer until the row is visible in PostgreSQL, at {seen.per_second:,.0f} requests/s"
        yield (
            f"  p50 {seen.p50_ms:.1f} ms, p99 {seen.p99_ms:.1f} ms, longest {seen.max_ms:.1f} ms, of {seen.items} items"
        )
        yield ""
    if found := results.coalescing:
        yield "Rows written when 100 items repeat"
        yield (f"  {found.requests:,} requests, {found.rows:,} rows: {found.rows_per_request:.3f} per request")
        yield (
            f"  with a log of every flush: {found.flushes:,} flushes of {found.distinct:,} distinct items,"
            f" {found.logged_rows:,} rows: {found.rows_per_distinct:.3f} per distinct item"
        )
        yield ""


def _flushes(results: Results) -> Iterator[str]:
    if not results.flush_costs:
        return
    yield "Cost of a flush per item, µs; median (least-most) of the batches"
    for cost in results.flush_costs:
        yield (
            f"  batch of {cost.items:5}: new {cost.new_us.shown(1):>22}  again {cost.again_us.shown(1):>22}"
            f"  CPU {cost.cpu_us:6.1f}"
        )
    yield ""


def _jobs(results: Results) -> Iterator[str]:
    if found := results.jobs:
        yield f"Reservations, {found.jobs:,} in the queue"
        yield f"  a flush takes {found.reserved_us:.1f} µs per item with them, {found.plain_us:.1f} without"
        yield (
            f"  one worker works off {found.drained_per_second:,.0f} a second;"
            f" {found.most_mib:.1f} MiB, with nothing to do {found.idle_mib:.1f}"
        )
        yield ""


def _warranties(results: Results) -> Iterator[str]:
    if found := results.warranties:
        yield "Warranties created, closed loop, 64 connections; median (least-most) of the rounds"
        for name, title in found.titles().items():
            per_second = found.of(name, lambda turn: turn.load.per_second)
            p50_ms = found.of(name, lambda turn: turn.load.p50_ms)
            p99_ms = found.of(name, lambda turn: turn.load.p99_ms)
            cpu_us = found.of(name, lambda turn: turn.cpu_us)
            database_cpu_us = found.of(name, lambda turn: turn.database_cpu_us)
            per_commit = found.of(name, lambda turn: turn.per_commit)
            settle_s = found.of(name, lambda turn: turn.settle_s)
            yield (
                f"  {title:38} {per_second.shown(0):>22}/s  p50 {p50_ms.median:6.1f} ms  p99 {p99_ms.median:6.1f} ms"
                f"  CPU {cpu_us.shown(0):>21} µs, PostgreSQL's {database_cpu_us.median:5.0f} µs"
                f"  {per_commit.median:5.1f} a commit  catches up {settle_s.median:4.1f} s"
            )
        yield "A list of all of them; memory over that of the process at rest"
        for listed in found.lists:
            yield (
                f"  {listed.rows:7,} rows, {listed.reader} reader: {listed.seconds:5.1f} s,"
                f" {listed.mebibytes:5.1f} MiB sent, at most {listed.grown_mib:+5.1f} MiB"
            )
        yield ""


def _memory(results: Results) -> Iterator[str]:
    if rest := results.rest:
        yield "One worker"
        yield f"  at rest {rest.rss_mib:.1f} MiB, {rest.idle_cpu_percent:.1f} % of a core"
        yield (
            f"  per waiting item {rest.bytes_per_pending_item:,.0f} bytes"
            f" (of {rest.pending_items:,}; refused {rest.refused:,})"
        )
        yield ""
    if soak := results.soak:
        yield f"Memory over {soak.seconds:,.0f} s of full load ({soak.requests:,} requests)"
        yield (
            f"  start {soak.start_mib:.1f} MiB, middle {soak.middle_mib:.1f}, end {soak.end_mib:.1f},"
            f" most {soak.most_mib:.1f}"
        )
        yield ""


def _bars(results: Results) -> Iterator[str]:
    yield "Bars"
    for bar in bars_of(results):
        verdict = {True: "met", False: "not met", None: "not measured"}[bar.met]
        bound = f"{'at most' if bar.at_most else 'at least'} {bar.wanted:<6g}"
        yield f"  {bar.title:46} {_shown(bar.measured):>20}  {bound} {verdict}"
