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
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from tracker.errors import ConfigurationError
from tracker.kit.clock import MAX_NODE
from tracker.kit.origins import Hosts, Origins


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


class Payment(enum.Enum):
    """Which payment processor charges the customers."""

    SANDBOX = "sandbox"
    """None: the payment methods say themselves what becomes of them, for trying Tracker out."""

    STRIPE = "stripe"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set from outside."""

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

    metrics: Switch = Switch.ON
    """Whether requests are counted, and `GET /metrics` shows what is."""

    jobs: Switch = Switch.ON
    """Whether `tracker serve` runs the jobs itself; off where `tracker worker` does."""

    oidc_issuer: str | None = None
    """The OpenID Connect provider that customers log in at; None switches off what needs a customer."""

    oidc_audience: str | None = None
    """Whom the bearer tokens must be made out to."""

    oidc_client_id: str | None = None
    """Tracker's client id at the provider; None switches off /login."""

    oidc_client_secret: Annotated[str, Meta(min_length=16)] | None = None
    """Tracker's password at the provider; the cookies of sessions are encrypted with a key derived from it."""

    payment: Payment | None = None
    """The processor that charges the customers; None switches off the checkout."""

    stripe_secret_key: Annotated[str, Meta(pattern=r"^[\x21-\x7e]+\Z")] | None = None
    """Tracker's key at Stripe."""

    stripe_webhook_secret: str | None = None
    """The secret that Stripe signs its webhooks with; None refuses them all."""

    stripe_url: str = "https://api.stripe.com"
    """Stripe's API, or what stands in for it in a test."""

    warranty_rates: Path | None = None
    """The rate table (TOML) of the warranties; None is the one that comes with Tracker."""

    archive_url: str | None = None
    """Where warranties are archived, as obstore takes it (file://, s3://, gs://, az://); None is a folder in the
    data folder."""

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

    log_level: LogLevel = LogLevel.INFO
    """Least level of the lines in the log."""

    log_format: LogFormat = LogFormat.AUTO
    """Their form."""

    def __repr__(self) -> str:
        """Show everything but secrets."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return each field's name with its value, without secrets."""
        shown = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and name in SECRETS:
                value = HIDDEN
            elif isinstance(value, str) and name in URLS:
                value = _without_credentials(value)
            shown.append((name, value))
        return shown


SECRETS: Final = frozenset({"oidc_client_secret", "stripe_secret_key", "stripe_webhook_secret"})
"""Whose values are never shown."""

URLS: Final = frozenset({"database_url", "reservation_url", "oidc_issuer", "stripe_url"})
"""Which may hold a password, before the host or in the query."""

HIDDEN: Final = "***"


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
    _check_proxies(settings)
    _check_urls(settings)
    _check_together(settings, "oidc_issuer", "oidc_audience")
    _check_together(settings, "oidc_client_id", "oidc_client_secret")
    if settings.oidc_client_id is not None and settings.oidc_issuer is None:
        msg = "TRACKER_OIDC_CLIENT_ID is set, but not TRACKER_OIDC_ISSUER"
        raise ConfigurationError(msg)
    if settings.payment is Payment.STRIPE and settings.stripe_secret_key is None:
        msg = "TRACKER_PAYMENT=stripe needs TRACKER_STRIPE_SECRET_KEY"
        raise ConfigurationError(msg)
    if settings.ack is Ack.COMMIT and settings.flush_interval_ms >= settings.commit_timeout_s * 1000:
        msg = "TRACKER_COMMIT_TIMEOUT_S must be longer than TRACKER_FLUSH_INTERVAL_MS, or no item is confirmed in time"
        raise ConfigurationError(msg)
    return settings


def _check_proxies(settings: Settings) -> None:
    for proxy in filter(None, map(str.strip, settings.trusted_proxies.split(","))):
        if proxy != "*" and not _is_network(proxy):
            msg = (
                f"TRACKER_TRUSTED_PROXIES={settings.trusted_proxies!r} is not valid: {proxy!r} is no address or network"
            )
            raise ConfigurationError(msg)
    if settings.rate_per_address is not None and "*" in settings.trusted_proxies:
        msg = (
            "TRACKER_RATE_PER_ADDRESS needs TRACKER_TRUSTED_PROXIES to name the proxies:"
            " with * every client says itself which address it has"
        )
        raise ConfigurationError(msg)


def _check_urls(settings: Settings) -> None:
    """Raise ConfigurationError unless all URLs are valid; they may hold a password, so none is shown."""
    if settings.database_url is not None and not _is_database_url(settings.database_url):
        msg = (
            "DATABASE_URL is not valid: expected postgresql://user:password@host:port/database; in user and password"
            " # / ? and @ are written %23 %2F %3F and %40"
        )
        raise ConfigurationError(msg)
    for name in ("reservation_url", "oidc_issuer", "stripe_url"):
        url = getattr(settings, name)
        if url is not None and not _is_http_url(url):
            msg = f"{variable_of(name)} is not valid: expected http://host/path"
            raise ConfigurationError(msg)
    if settings.archive_url is not None and not _is_archive_url(settings.archive_url):
        msg = (
            "TRACKER_ARCHIVE_URL is not valid: expected file:///folder, s3://bucket/prefix, gs://bucket/prefix or"
            " az://container/prefix; credentials go into the environment, and # and ? are written %23 and %3F"
        )
        raise ConfigurationError(msg)


def _check_together(settings: Settings, *names: str) -> None:
    missing = [variable_of(name) for name in names if getattr(settings, name) is None]
    if missing and len(missing) < len(names):
        msg = f"{' and '.join(map(variable_of, names))} go together: {' and '.join(missing)} is not set"
        raise ConfigurationError(msg)


def _is_database_url(text: str) -> bool:
    """Return whether `text` can be taken apart, with a port for each host; the driver says what else is wrong."""
    try:
        parts = urlsplit(text)
        for place in parts.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{place}").port
    except ValueError:
        return False
    return "@" not in parts.path + parts.fragment


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_archive_url(text: str) -> bool:
    """Return whether `text` is an archive; the library takes more, and drops what it does not understand."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    known = text.startswith("file:///") or (parts.scheme in {"s3", "gs", "az"} and bool(parts.netloc))
    dropped = (
        parts.query or parts.fragment or set(parts.netloc) & set("@:") or not text.isprintable() or text != text.strip()
    )
    return known and not dropped and not {".", ".."} & set(unquote(parts.path).split("/"))


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    credentials, at, host = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN if credentials else ''}{at}{host}"
    return parts._replace(netloc=netloc, query=parts.query and HIDDEN, fragment="").geturl()


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
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
        shown = variable if name in SECRETS else f"{variable}={text!r}"
        msg = f"{shown} is not valid: {error}"
        raise ConfigurationError(msg) from None


def _from_text(kind: type, text: object) -> object:
    return kind(text)


_FIELD_TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}
