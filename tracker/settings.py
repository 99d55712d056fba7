"""Settings: frozen groups, read once from the environment, units in the names.

A group is a Struct beside what it is for: a feature's in the feature's folder, the others here. What needs settings
takes its group, or values of it, and never all of them. `msgspec` converts and checks the values by the annotations of
the fields; the variable of a field is its name in capitals behind `TRACKER_`, except for `DATABASE_URL`, which every
host of PostgreSQL already sets under that name.

Where to listen is not among them but an option of `tracker serve`: Kubernetes sets `TRACKER_PORT`
by itself (to `tcp://…`) in every pod beside a service called "tracker".
"""

import enum
import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from tracker.errors import ConfigurationError
from tracker.kit.clock import MAX_NODE
from tracker.kit.origins import Hosts, Origins


class SettingsGroup(Struct, frozen=True):
    """Settings that belong together; the rules between them stand in `__post_init__`."""

    SECRETS: ClassVar[frozenset[str]] = frozenset()
    """Fields whose values are never shown."""

    URLS: ClassVar[frozenset[str]] = frozenset()
    """Fields that may hold a password, before the host or in the query."""

    def __repr__(self) -> str:
        """Show everything but secrets."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return each field's name with its value, without secrets."""
        fields = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and name in self.SECRETS:
                value = HIDDEN
            elif isinstance(value, str) and name in self.URLS:
                value = _without_credentials(value)
            fields.append((name, value))
        return fields


G = TypeVar("G", bound=SettingsGroup)


class Settings:
    """All groups of a process, each found by its type: `settings[LogSettings].log_level`."""

    def __init__(self, *groups: SettingsGroup) -> None:
        """Take the groups, one of each type."""
        self._groups = {type(group): group for group in groups}

    def __getitem__(self, kind: type[G]) -> G:
        """Return the group of a type; raise LookupError if it was not read, as of a feature that is not listed."""
        found = self._groups.get(kind)
        if isinstance(found, kind):
            return found
        msg = f"the settings have no {kind.__name__}: nothing that is listed reads it"
        raise LookupError(msg)

    def __repr__(self) -> str:
        """Show everything but secrets."""
        return f"Settings({', '.join(map(repr, self._groups.values()))})"


HIDDEN: Final = "***"


def read_settings(environ: Mapping[str, str], kinds: Iterable[type[SettingsGroup]]) -> Settings:
    """Read groups from `environ`; an empty variable counts as not set.

    Raises ConfigurationError that names the variable, its value and the rule it breaks.
    """
    # All values are converted first: of two wrong settings, one that is no value at all is told before a broken rule.
    values = [(kind, _values_of(environ, kind)) for kind in kinds]
    return Settings(*(kind(**found) for kind, found in values))


def read_group(environ: Mapping[str, str], kind: type[G]) -> G:
    """Read one group as `read_settings` does."""
    return kind(**_values_of(environ, kind))


def _values_of(environ: Mapping[str, str], kind: type[SettingsGroup]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        variable = variable_of(field.name)
        if text := environ.get(variable):
            try:
                values[field.name] = msgspec.convert(text, field.type, strict=False, dec_hook=_from_text)
            except msgspec.ValidationError as error:
                named = variable if field.name in kind.SECRETS else f"{variable}={text!r}"
                msg = f"{named} is not valid: {error}"
                raise ConfigurationError(msg) from None
    return values


def variable_of(name: str) -> str:
    """Return the environment variable that sets the field `name`."""
    return "DATABASE_URL" if name == "database_url" else f"TRACKER_{name.upper()}"


def check_http_url(name: str, url: str | None) -> None:
    """Raise ConfigurationError unless the field `name`, if it is set, is an http or https URL.

    The error does not show the URL, which may hold a password.
    """
    if url is not None and not _is_http_url(url):
        msg = f"{variable_of(name)} is not valid: expected http://host/path"
        raise ConfigurationError(msg)


def check_together(group: SettingsGroup, *names: str) -> None:
    """Raise ConfigurationError if some of these fields are set and others are not."""
    missing = [variable_of(name) for name in names if getattr(group, name) is None]
    if missing and len(missing) < len(names):
        msg = f"{' and '.join(map(variable_of, names))} go together: {' and '.join(missing)} is not set"
        raise ConfigurationError(msg)


def _from_text(kind: type, text: object) -> object:
    return kind(text)


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    credentials, at, host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN if credentials else ''}{at}{host}"
    return parts._replace(netloc=netloc, query=parts.query and HIDDEN, fragment="").geturl()


class Ack(enum.Enum):
    """The acknowledgement level: what must have happened to an item before the client is answered."""

    MEMORY = "memory"
    """The aggregator has it. It survives nothing but a regular stop."""

    JOURNAL = "journal"
    """Its frame is written to this worker's journal. It survives the process being killed."""

    FSYNC = "fsync"
    """Its frame is on the disk. It survives a loss of power."""

    COMMIT = "commit"
    """PostgreSQL has committed it. It survives the loss of this machine's disk."""


class Switch(enum.Enum):
    """On or off."""

    ON = "on"
    OFF = "off"


class LogLevel(enum.Enum):
    """From which level on Tracker's own lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.Enum):
    """The form of a line of the log."""

    AUTO = "auto"
    """Text on a terminal, JSON elsewhere."""

    JSON = "json"
    TEXT = "text"


class DatabaseSettings(SettingsGroup, frozen=True, kw_only=True):
    """PostgreSQL, and how many connections to it a process may have."""

    URLS = frozenset({"database_url"})

    database_url: str | None = None
    """The PostgreSQL to use, as libpq writes it; None starts an embedded one in the data folder."""

    request_connections: Annotated[int, Meta(ge=1, le=100)] = 4
    """Most connections to PostgreSQL that the requests of a process share; the writing of items has its own.

    One is enough to keep the process busy where PostgreSQL is near (540 carts read a second with 1, 560 with 4, 520
    with 8, on a loaded machine); three more let the others go on while one waits for a lock.
    """

    job_connections: Annotated[int, Meta(ge=1, le=100)] = 4
    """Most connections to PostgreSQL that the jobs of a process share; a call that waits for its service holds none,
    so a hundred calls in flight share a few."""

    def __post_init__(self) -> None:
        """Check the URL; it may hold a password, so it is not shown."""
        if self.database_url is not None and not _is_database_url(self.database_url):
            msg = (
                "DATABASE_URL is not valid: expected postgresql://user:password@host:port/database; in user and"
                " password # / ? and @ are written %23 %2F %3F and %40"
            )
            raise ConfigurationError(msg)


class FolderSettings(SettingsGroup, frozen=True, kw_only=True):
    """The data folder, and this machine among those that share a database."""

    data_dir: Path = Path("data")
    """Folder for what this machine keeps: the journals, and the embedded PostgreSQL."""

    node: Annotated[int, Meta(ge=0, le=MAX_NODE)] = 0
    """Number of this machine (or container) among those that share a database, each another one."""


class IngestSettings(SettingsGroup, frozen=True, kw_only=True):
    """The way of an item from its acceptance to its commit."""

    ack: Ack = Ack.JOURNAL
    """When an item is answered; see `Ack`."""

    flush_interval_ms: Annotated[int, Meta(ge=1, le=10_000)] = 5
    """How long items are gathered before they are written, in milliseconds."""

    flush_max_items: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    """Most items that one statement writes."""

    buffer_max_mb: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Most memory that items waiting for PostgreSQL may take, per worker, in MiB; then 503."""

    journal_max_mb: Annotated[int, Meta(ge=1, le=1_048_576)] = 1024
    """Most disk that the journal may take, per worker, in MiB; then 503."""

    journal_min_free_mb: Annotated[int, Meta(ge=0, le=1_048_576)] = 64
    """Least free space on the journal's disk, in MiB; below it 503, so that others on it live on."""

    journal_sync_ms: Annotated[int, Meta(ge=1, le=60_000)] = 50
    """How often the journal is synced at level `journal`, in milliseconds: what a loss of power costs."""

    commit_timeout_s: Annotated[float, Meta(gt=0, le=600)] = 5.0
    """How long an answer waits for PostgreSQL at level `commit` before it is a 503, in seconds."""

    def __post_init__(self) -> None:
        """Check that an item can be confirmed in time."""
        if self.ack is Ack.COMMIT and self.flush_interval_ms >= self.commit_timeout_s * 1000:
            msg = (
                "TRACKER_COMMIT_TIMEOUT_S must be longer than TRACKER_FLUSH_INTERVAL_MS,"
                " or no item is confirmed in time"
            )
            raise ConfigurationError(msg)


class WebSettings(SettingsGroup, frozen=True, kw_only=True):
    """The clients that may call, from where, and how often; and the certificate that Tracker answers with."""

    trusted_proxies: str = "127.0.0.1"
    """Addresses or networks, by commas, whose X-Forwarded-Proto and -For are believed; `*` is all."""

    rate_per_address: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Most tracking requests a second from one address (of IPv6: one /64), per worker; None is no limit."""

    rate_per_cart: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Most tracking requests a second for one cart, per worker; None is no limit."""

    allowed_origins: Origins | None = None
    """The origins of pages that may call from browsers; None lets every page send items, and none read an answer."""

    allowed_hosts: Hosts | None = None
    """The names that Tracker may be called by; None is all."""

    tls_cert: Path | None = None
    """Certificate chain (PEM) to serve https by itself; without it a proxy in front does that."""

    tls_key: Path | None = None
    """Private key (PEM) of `tls_cert`, if it is not in the same file."""

    def __post_init__(self) -> None:
        """Check the proxies, which must be known where addresses are limited."""
        for proxy in filter(None, map(str.strip, self.trusted_proxies.split(","))):
            if proxy != "*" and not _is_network(proxy):
                msg = (
                    f"TRACKER_TRUSTED_PROXIES={self.trusted_proxies!r} is not valid: {proxy!r} is no address or network"
                )
                raise ConfigurationError(msg)
        if self.rate_per_address is not None and "*" in self.trusted_proxies:
            msg = (
                "TRACKER_RATE_PER_ADDRESS needs TRACKER_TRUSTED_PROXIES to name the proxies:"
                " with * every client says itself which address it has"
            )
            raise ConfigurationError(msg)


class ProcessSettings(SettingsGroup, frozen=True, kw_only=True):
    """Work that a serving process does beside its requests."""

    metrics: Switch = Switch.ON
    """Whether requests are counted, and `GET /metrics` shows what is."""

    jobs: Switch = Switch.ON
    """Whether `tracker serve` runs the jobs itself; off where `tracker worker` does."""


class LogSettings(SettingsGroup, frozen=True, kw_only=True):
    """The log."""

    log_level: LogLevel = LogLevel.INFO
    """Least level of the lines in the log."""

    log_format: LogFormat = LogFormat.AUTO
    """Their form."""


GROUPS: Final = (DatabaseSettings, FolderSettings, IngestSettings, WebSettings, ProcessSettings, LogSettings)
"""The groups of no feature."""


def _is_database_url(text: str) -> bool:
    """Return whether `text` can be taken apart, with a port for each host; the driver says what else is wrong."""
    try:
        parts = urlsplit(text)
        for place in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{place}").port
    except ValueError:
        return False
    return "@" not in parts.path + parts.fragment


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
