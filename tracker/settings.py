"""Settings: one frozen Struct, read once from the environment, units in the names.

`msgspec` converts and checks the values by the annotations below; the variable of a field is its
name in capitals behind `TRACKER_`, except for `DATABASE_URL`, which every host of PostgreSQL
already sets under that name.

Where to listen is not among them but an option of `tracker serve`: Kubernetes sets `TRACKER_PORT`
by itself (to `tcp://…`) in every pod beside a service called "tracker".
"""

import enum
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from tracker.clock import MAX_NODE
from tracker.errors import ConfigurationError


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


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set from outside."""

    database_url: str | None = None
    """The PostgreSQL to use, as libpq writes it; None starts an embedded one in the data folder."""

    data_dir: Path = Path("data")
    """Folder for what this machine keeps: the journals, and the embedded PostgreSQL."""

    node: Annotated[int, Meta(ge=0, le=MAX_NODE)] = 0
    """Number of this machine (or container) among those that share a database, each another one."""

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

    reservation_url: str | None = None
    """Where every item of a cart is reserved by a POST; None switches reservations off."""

    reservation_timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 120.0
    """How long the service may take to answer, in seconds."""

    reservation_concurrency: Annotated[int, Meta(ge=2, le=1000)] = 100
    """Most calls in flight per process."""

    reservation_attempts: Annotated[int, Meta(ge=1, le=1000)] = 8
    """How often the service is asked for one reservation before that counts as failed."""

    jobs: Switch = Switch.ON
    """Whether `tracker serve` runs the jobs itself; off where `tracker worker` does."""

    trusted_proxies: str = "127.0.0.1"
    """Addresses or networks, by commas, whose X-Forwarded-Proto and -For are believed; `*` is all."""

    tls_cert: Path | None = None
    """Certificate chain (PEM) to serve https by itself; without it a proxy in front does that."""

    tls_key: Path | None = None
    """Private key (PEM) of `tls_cert`, if it is not in the same file."""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`; an empty variable counts as not set.

    Raises ConfigurationError that names the variable, its value and the rule it breaks.
    """
    values: dict[str, object] = {}
    for name in Settings.__struct_fields__:
        variable = variable_of(name)
        if text := environ.get(variable):
            values[name] = _convert(name, variable, text)
    settings = Settings(**values)  # type: ignore[arg-type]  # each was converted to its field's type
    for proxy in filter(None, map(str.strip, settings.trusted_proxies.split(","))):
        if proxy != "*" and not _is_network(proxy):
            msg = (
                f"TRACKER_TRUSTED_PROXIES={settings.trusted_proxies!r} is not valid: {proxy!r} is no address or network"
            )
            raise ConfigurationError(msg)
    if settings.reservation_url is not None and not _is_http_url(settings.reservation_url):
        msg = f"TRACKER_RESERVATION_URL={settings.reservation_url!r} is not valid: expected http://host/path"
        raise ConfigurationError(msg)
    if settings.ack is Ack.COMMIT and settings.flush_interval_ms >= settings.commit_timeout_s * 1000:
        msg = "TRACKER_COMMIT_TIMEOUT_S must be longer than TRACKER_FLUSH_INTERVAL_MS, or no item is confirmed in time"
        raise ConfigurationError(msg)
    return settings


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def variable_of(name: str) -> str:
    """Return the environment variable that sets the field `name`."""
    return "DATABASE_URL" if name == "database_url" else f"TRACKER_{name.upper()}"


def _convert(name: str, variable: str, text: str) -> object:
    annotation = _FIELD_TYPES[name]
    try:
        return msgspec.convert(text, annotation, strict=False, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        msg = f"{variable}={text!r} is not valid: {error}"
        raise ConfigurationError(msg) from None


def _from_text(kind: type, text: object) -> object:
    return kind(text)


_FIELD_TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}
