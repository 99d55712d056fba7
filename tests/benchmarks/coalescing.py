"""How many rows PostgreSQL really writes when the same items come again and again.

Full load on 100 items, twice. PostgreSQL's own statistics say how many rows were inserted or updated. In the
second run a trigger keeps a log of the keys that each transaction wrote: a flush is a transaction, and its
distinct keys are what it had to write at the least. The log slows the flushes down, and slower flushes fold
more, so the rows per request come from the first run.
"""

import time
from typing import Final

from msgspec import Struct

from tests.benchmarks.contestants import JOURNAL
from tests.benchmarks.postgres import disconnect_all, name_of, run_sql
from tests.benchmarks.processes import Site, running
from tests.benchmarks.requests import ITEM_HOT, write_requests
from tests.benchmarks.wrk import drive

_LOG: Final = """
CREATE TABLE flushed (flush bigint NOT NULL, cart_id uuid NOT NULL, external_id text NOT NULL);
CREATE FUNCTION log_flushed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO flushed SELECT txid_current(), cart_id, external_id FROM written;
    RETURN NULL;
END $$;
CREATE TRIGGER log_inserted AFTER INSERT ON items
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION log_flushed();
CREATE TRIGGER log_updated AFTER UPDATE ON items
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION log_flushed();
"""

_NO_LOG: Final = "CREATE TABLE flushed (flush bigint, cart_id uuid, external_id text)"

_FLUSHES: Final = "SELECT count(DISTINCT flush), count(DISTINCT (flush, cart_id, external_id)) FROM flushed"

_WRITTEN: Final = "SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'items'"

STATISTICS_S: Final = 1.0
"""For the backends to end and report what they did."""


class Coalescing(Struct, frozen=True):
    """What became of the requests."""

    requests: int
    rows: int
    """Inserted or updated, by PostgreSQL's statistics."""
    flushes: int
    """Of the run with the log, as all below."""
    distinct: int
    """Distinct items of each flush, added up."""
    logged_rows: int
    """As `rows`."""

    @property
    def rows_per_request(self) -> float:
        """Less than one, because items repeat."""
        return self.rows / self.requests

    @property
    def rows_per_distinct(self) -> float:
        """One, if a flush writes each of its items once."""
        return self.logged_rows / self.distinct


def measure(site: Site, *, seconds: float) -> Coalescing:
    """Send the same 100 items for `seconds` and count, without the log and with it."""
    requests, rows, _, _ = _run(site, seconds, _NO_LOG)
    _, logged_rows, flushes, distinct = _run(site, seconds, _LOG)
    return Coalescing(requests, rows, flushes, distinct, logged_rows)


def _run(site: Site, seconds: float, log: str) -> tuple[int, int, int, int]:
    """Return the requests, the rows written, the flushes and the sum of their distinct items."""
    with running(JOURNAL, site) as server:
        run_sql(server.database_url, log)
        load = drive(server.url, write_requests(ITEM_HOT, site.folder), seconds)
        server.settle()
        disconnect_all(site.databases.server_url, name_of(server.database_url))
        time.sleep(STATISTICS_S)
        rows = int(run_sql(server.database_url, _WRITTEN)[0][0])
        flushes, distinct = run_sql(server.database_url, _FLUSHES)[0]
    return load.requests, rows, flushes, distinct
