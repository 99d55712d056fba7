"""Who takes part: how each is started, what it needs, and which requests it gets.

Each is a file of ours in this folder, as short and as fair as what it stands for can be: one worker, no access
log, the same requests, the same PostgreSQL. Tracker is started as anybody starts it.
"""

import importlib.util
import shutil
import sys
from typing import Final

from msgspec import Struct

from tests.benchmarks.requests import ITEM_KNOWN, ITEM_NEW, ITEM_PAGE, ITEMS_KNOWN, ITEMS_NEW, PAGE_ORIGIN, Shape

_FOLDER: Final = "tests.benchmarks.contestants"


class Contestant(Struct, frozen=True):
    """A service that takes `POST /item`."""

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    """What to start, the process that serves first; `{port}` is its port, `{redis}` the port of Redis."""
    shapes: tuple[Shape, ...] = (ITEM_KNOWN,)
    env: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()
    """Packages it needs beside Tracker's."""
    is_tracker: bool = False
    stores: bool = True
    needs_redis: bool = False
    two_cores: bool = False
    """Whether it has a second core for its second worker; on a machine with two, that is also the load's."""

    def missing(self) -> str | None:
        """Return what is not installed, if anything."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"the package {module}"
        if self.needs_redis and shutil.which("redis-server") is None:
            return "redis-server (apt-get install redis-server)"
        return None


def uvicorn(module: str) -> tuple[str, ...]:
    """Return the command that serves the application of a module of this folder."""
    where = ("--host", "127.0.0.1", "--port", "{port}")
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    return (sys.executable, "-m", "uvicorn", f"{_FOLDER}.{module}:app", *where, *options)


def script(module: str) -> tuple[str, ...]:
    """Return the command that runs a module of this folder that serves by itself."""
    return (sys.executable, "-m", f"{_FOLDER}.{module}", "{port}")


def _gunicorn(module: str) -> tuple[str, ...]:
    options = ("--workers", "1", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "5")
    return (sys.executable, "-m", "gunicorn", *options, "--bind", "127.0.0.1:{port}", f"{_FOLDER}.{module}:app")


def _tracker(ack: str) -> Contestant:
    return Contestant(
        f"tracker-{ack}",
        f"Tracker, {ack}",
        ((sys.executable, "-m", "tracker", "serve", "--port", "{port}"),),
        shapes=(ITEM_KNOWN, ITEM_NEW, ITEMS_KNOWN, ITEMS_NEW),
        env=(("TRACKER_ACK", ack),),
        is_tracker=True,
    )


_CELERY: Final = (
    sys.executable, "-m", "celery", "-A", f"{_FOLDER}.celery_worker:celery", "worker", "--pool", "prefork",
    "--concurrency", "1", "--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat",
)  # fmt: skip

LIMIT: Final = Contestant("limit", "bare ASGI app: the limit", (uvicorn("limit"),), stores=False)
LITESTAR: Final = Contestant("litestar-dto", "Litestar DTO route, idle", (uvicorn("litestar_dto"),), stores=False)
MEMORY: Final = _tracker("memory")
JOURNAL: Final = _tracker("journal")
OPEN: Final = Contestant(
    "tracker-open", "Tracker, journal", JOURNAL.commands, shapes=(ITEM_PAGE,), env=JOURNAL.env, is_tracker=True
)
GUARDED: Final = Contestant(
    "tracker-guarded",
    "Tracker, journal, guarded",
    JOURNAL.commands,
    shapes=(ITEM_PAGE,),
    env=(
        *JOURNAL.env,
        # Never reached, but counted: by the one address of the load, and by each of its 2,000 carts.
        ("TRACKER_RATE_PER_ADDRESS", "100000"),
        ("TRACKER_RATE_PER_CART", "1000"),
        ("TRACKER_ALLOWED_ORIGINS", PAGE_ORIGIN),
        ("TRACKER_ALLOWED_HOSTS", "127.0.0.1"),
    ),
    is_tracker=True,
)
FSYNC: Final = _tracker("fsync")
COMMIT: Final = _tracker("commit")
TWO_WORKERS: Final = Contestant(
    "tracker-2-workers",
    "Tracker, journal, 2 workers",
    ((*JOURNAL.commands[0], "--workers", "2"),),
    env=JOURNAL.env,
    is_tracker=True,
    two_cores=True,
)
NO_METRICS: Final = Contestant(
    "tracker-no-metrics",
    "Tracker, journal, no metrics",
    JOURNAL.commands,
    env=(*JOURNAL.env, ("TRACKER_METRICS", "off")),
    is_tracker=True,
)
FASTAPI: Final = Contestant(
    "fastapi", "FastAPI + SQLAlchemy", (uvicorn("fastapi_upsert"),), modules=("fastapi", "pydantic")
)
FLASK: Final = Contestant(
    "flask",
    "Flask + psycopg",
    (_gunicorn("flask_upsert"),),
    modules=("flask", "gunicorn", "psycopg", "psycopg_pool"),
)
CELERY: Final = Contestant(
    "flask-celery",
    "Flask + Celery + Redis",
    (_gunicorn("flask_celery"), _CELERY),
    env=(("BENCH_BROKER_URL", "redis://127.0.0.1:{redis}/0"),),
    modules=("flask", "gunicorn", "psycopg", "celery", "redis"),
    needs_redis=True,
)

CONTESTANTS: Final = (
    LIMIT,
    LITESTAR,
    MEMORY,
    JOURNAL,
    NO_METRICS,
    OPEN,
    GUARDED,
    FSYNC,
    COMMIT,
    TWO_WORKERS,
    FASTAPI,
    FLASK,
    CELERY,
)
