"""Settings of the warranties."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tracker.errors import ConfigurationError
from tracker.settings import SettingsGroup


class WarrantySettings(SettingsGroup, frozen=True, kw_only=True):
    """The terms of warranties, and their archive."""

    warranty_rates: Path | None = None
    """The rate table (TOML) of the warranties; None is the one that comes with Tracker."""

    archive_url: str | None = None
    """Where warranties are archived, as obstore takes it (file://, s3://, gs://, az://); None is a folder in the
    data folder."""

    def __post_init__(self) -> None:
        """Check the archive's URL; it may hold a password, so it is not shown."""
        if self.archive_url is not None and not _is_archive_url(self.archive_url):
            msg = (
                "TRACKER_ARCHIVE_URL is not valid: expected file:///folder, s3://bucket/prefix, gs://bucket/prefix or"
                " az://container/prefix; credentials go into the environment, and # and ? are written %23 and %3F"
            )
            raise ConfigurationError(msg)


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
