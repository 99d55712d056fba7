import re
from pathlib import Path

import pytest

from tests.support.settings import KINDS
from tracker.errors import ConfigurationError
from tracker.kit.origins import Hosts, Origins
from tracker.runtime.features import load_settings
from tracker.settings import Ack, DatabaseSettings, FolderSettings, IngestSettings, Settings, SettingsGroup, WebSettings


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:SECRET#PW@h/d",
        "postgresql://u:SECRET/PW@h/d",
        "postgresql://u:SECRET@[::1/d",
        "postgresql://u:SECRET@h:99999999/d",
    ],
)
def test_a_database_url_that_cannot_be_taken_apart_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL is not valid") as caught:
        load_settings({"DATABASE_URL": url})
    assert "SECRET" not in str(caught.value)


def test_a_database_url_may_have_several_hosts() -> None:
    url = "postgresql://u:p@one:5432,two:5433/d?target_session_attrs=read-write"
    assert load_settings({"DATABASE_URL": url})[DatabaseSettings].database_url == url


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_set_gives_the_defaults(kind: type[SettingsGroup]) -> None:
    assert load_settings({})[kind] == kind()


def test_a_group_that_was_not_read_is_not_quietly_the_default() -> None:
    settings = Settings(DatabaseSettings())
    assert settings[DatabaseSettings] == DatabaseSettings()
    with pytest.raises(LookupError, match="the settings have no FolderSettings"):
        settings[FolderSettings]


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_variable_counts_as_not_set(kind: type[SettingsGroup]) -> None:
    assert load_settings({"TRACKER_ACK": "", "DATABASE_URL": ""})[kind] == kind()


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in kind.__struct_fields__])
def test_no_setting_changes_after_the_start(kind: type[SettingsGroup], name: str) -> None:
    group = kind()
    with pytest.raises(AttributeError):
        setattr(group, name, None)
    assert group == kind()


def test_no_setting_is_in_two_groups() -> None:
    names = [name for kind in KINDS for name in kind.__struct_fields__]
    assert len(names) == len(set(names)) > 30


def test_every_kind_of_value_is_read() -> None:
    settings = load_settings(
        {
            "DATABASE_URL": "postgresql://h/d",
            "TRACKER_DATA_DIR": "/var/lib/t",
            "TRACKER_ACK": "commit",
            "TRACKER_FLUSH_INTERVAL_MS": "7",
            "TRACKER_COMMIT_TIMEOUT_S": "0.5",
        }
    )
    assert settings[DatabaseSettings] == DatabaseSettings(database_url="postgresql://h/d")
    assert settings[FolderSettings] == FolderSettings(data_dir=Path("/var/lib/t"))
    assert settings[IngestSettings] == IngestSettings(ack=Ack.COMMIT, flush_interval_ms=7, commit_timeout_s=0.5)


def test_a_commit_timeout_shorter_than_the_flush_interval_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TRACKER_COMMIT_TIMEOUT_S"):
        load_settings({"TRACKER_ACK": "commit", "TRACKER_FLUSH_INTERVAL_MS": "10000"})


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("TRACKER_FLUSH_INTERVAL_MS", "0", ">= 1"),
        ("TRACKER_FLUSH_INTERVAL_MS", "soon", "Expected `int`"),
        ("TRACKER_FLUSH_MAX_ITEMS", "100000", "<= 10000"),
        ("TRACKER_BUFFER_MAX_MB", "-5", ">= 1"),
        ("TRACKER_ACK", "maybe", "Invalid enum value"),
        ("TRACKER_COMMIT_TIMEOUT_S", "nan", "TRACKER_COMMIT_TIMEOUT_S"),
        ("TRACKER_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "no address or network"),
        ("TRACKER_TRUSTED_PROXIES", "10.0.0.1/8", "no address or network"),
        ("TRACKER_NODE", "32", "<= 31"),
        ("TRACKER_RATE_PER_ADDRESS", "0", ">= 1"),
        ("TRACKER_RATE_PER_CART", "0.5", "Expected `int"),
        ("TRACKER_ALLOWED_ORIGINS", "https://shop.example,*", "'*' is no origin"),
        ("TRACKER_ALLOWED_ORIGINS", "null", "'null' is no origin"),
        ("TRACKER_ALLOWED_HOSTS", "shop.example:8000", "no port"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(variable: str, value: str, rule: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({variable: value})
    message = str(caught.value)
    assert variable in message
    assert value in message
    assert rule in message
    assert "\n" not in message


def test_lists_and_rates_are_read() -> None:
    settings = load_settings(
        {
            "TRACKER_RATE_PER_ADDRESS": "50",
            "TRACKER_ALLOWED_ORIGINS": "https://shop.example, http://localhost:3000",
            "TRACKER_ALLOWED_HOSTS": "*.shop.example",
        }
    )
    assert settings[WebSettings].rate_per_address == 50
    assert settings[WebSettings].allowed_origins == Origins("http://localhost:3000,https://shop.example")
    assert settings[WebSettings].allowed_hosts == Hosts("*.shop.example")


def test_addresses_are_not_limited_where_every_client_could_name_its_own() -> None:
    with pytest.raises(ConfigurationError, match="TRACKER_RATE_PER_ADDRESS needs TRACKER_TRUSTED_PROXIES"):
        load_settings({"TRACKER_RATE_PER_ADDRESS": "50", "TRACKER_TRUSTED_PROXIES": "*"})
    load_settings({"TRACKER_RATE_PER_CART": "50", "TRACKER_TRUSTED_PROXIES": "*"})


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"TRACKER_OIDC_ISSUER": "https://id.example"}, "TRACKER_OIDC_AUDIENCE is not set"),
        ({"TRACKER_OIDC_CLIENT_ID": "tracker"}, "TRACKER_OIDC_CLIENT_SECRET is not set"),
        (
            {"TRACKER_OIDC_CLIENT_ID": "tracker", "TRACKER_OIDC_CLIENT_SECRET": "x" * 16},
            "TRACKER_OIDC_CLIENT_ID is set, but not TRACKER_OIDC_ISSUER",
        ),
        ({"TRACKER_PAYMENT": "stripe"}, "TRACKER_STRIPE_SECRET_KEY"),
        ({"TRACKER_PAYMENT": "cash"}, "TRACKER_PAYMENT='cash'"),
    ],
)
def test_what_goes_together_must_be_set_together(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        load_settings(environ)


def test_a_bad_secret_is_named_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="TRACKER_OIDC_CLIENT_SECRET is not valid") as caught:
        load_settings({"TRACKER_OIDC_CLIENT_SECRET": "too-short"})
    assert "too-short" not in str(caught.value)


def test_what_is_secret_is_not_shown() -> None:
    settings = load_settings(
        {
            "DATABASE_URL": "postgresql://u:HUSH@h/d?password=HUSH",
            "TRACKER_RESERVATION_URL": "https://u:HUSH@h/reserve?token=HUSH",
            "TRACKER_OIDC_ISSUER": "https://HUSH@id.example",
            "TRACKER_OIDC_AUDIENCE": "us",
            "TRACKER_OIDC_CLIENT_ID": "tracker",
            "TRACKER_OIDC_CLIENT_SECRET": "HUSH-HUSH-HUSH-HUSH",
            "TRACKER_STRIPE_SECRET_KEY": "sk_HUSH",
            "TRACKER_STRIPE_WEBHOOK_SECRET": "whsec_HUSH",
            "TRACKER_STRIPE_URL": "http://u:HUSH@h",
        }
    )
    for shown in (
        repr(settings),
        str(settings),
        f"{settings}",
        str([settings[kind].__rich_repr__() for kind in KINDS]),
    ):
        assert "HUSH" not in shown
        assert "postgresql://***@h/d?***" in shown
        assert "ack=" in shown or "'ack'" in shown
