from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.net.guard import Guard
from app.settings import ClientDatabase, Settings
from app.sources import SourceRefusedError
from app.sources.database import DatabaseConfig, DatabaseSource


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DCS_")]:
        monkeypatch.delenv(name)


def test_sources_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCS_API_SOURCES", '{"evidence": "http://127.0.0.1:18052"}')
    monkeypatch.setenv(
        "DCS_CLIENT_DATABASES",
        '{"acme": {"host": "127.0.0.1", "port": 18053, "name": "acme", "user": "reader"}}',
    )
    settings = Settings()
    assert str(settings.api_sources["evidence"].url) == "http://127.0.0.1:18052/"
    assert settings.client_databases["acme"].target.port == 18053


@pytest.mark.parametrize(
    ("host", "asked", "expected"),
    [
        ("127.0.0.1", None, "disable"),
        ("::1", None, "disable"),
        ("localhost", None, "disable"),
        ("/run/postgresql", None, "disable"),
        ("10.0.0.7", None, "require"),
        ("db.example.com", None, "require"),
        ("10.0.0.7", "disable", "disable"),
        ("127.0.0.1", "verify-full", "verify-full"),
    ],
)
def test_what_leaves_this_machine_is_encrypted(
    monkeypatch: pytest.MonkeyPatch, host: str, asked: str | None, expected: str
) -> None:
    monkeypatch.setenv("DCS_DATABASE_HOST", host)
    if asked:
        monkeypatch.setenv("DCS_DATABASE_SSLMODE", asked)
    assert Settings().database.sslmode == expected


def test_a_password_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("one\n")
    monkeypatch.setenv("DCS_DATABASE_PASSWORD_FILE", str(secret))
    target = Settings().database
    assert target.password() == "one"
    secret.write_text("two\n")
    assert target.password() == "two"


def test_the_redis_password_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCS_REDIS_URL", "redis://:canary@127.0.0.1:6379/0")
    assert "canary" not in repr(Settings())


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        (None, "redis://:p%40ss%2F%3A%20word@127.0.0.1:6379/0"),
        ("redis://cache.example:6380/2", "redis://:p%40ss%2F%3A%20word@cache.example:6380/2"),
        ("rediss://dcs@cache.example:6380/2", "rediss://dcs:p%40ss%2F%3A%20word@cache.example:6380/2"),
        ("redis://[::1]:6380/0", "redis://:p%40ss%2F%3A%20word@[::1]:6380/0"),
    ],
)
def test_the_redis_password_comes_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str | None, whole: str
) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/: word\n")
    monkeypatch.setenv("DCS_REDIS_PASSWORD_FILE", str(secret))
    if url:
        monkeypatch.setenv("DCS_REDIS_URL", url)
    settings = Settings()
    assert settings.redis_url.get_secret_value() == whole
    assert "word" not in repr(settings).replace("password", "")


def test_two_passwords_for_redis_or_a_file_that_is_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DCS_REDIS_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings()
    (tmp_path / "none").write_text("one")
    monkeypatch.setenv("DCS_REDIS_URL", "redis://:two@127.0.0.1:6379/0")
    with pytest.raises(ValidationError, match="leave the first out") as refused:
        Settings()
    assert "two" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DCS_PORT", "0"),
        ("DCS_DATABASE_PORT", "65536"),
        ("DCS_DATABASE_POOL_SIZE", "0"),
        ("DCS_DATABASE_SSLMODE", "maybe"),
        ("DCS_API_SOURCES", '{"evidence": "ftp://example.com"}'),
        ("DCS_API_SOURCES", '{"../evidence": "http://example.com"}'),
        ("DCS_CLIENT_DATABASES", '{"acme": {"host": "h", "name": "n", "user": "u", "options": "-c x=y"}}'),
        ("DCS_LEASE_SECONDS", "0.5"),
    ],
)
def test_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(("lease_seconds", "allowed"), [("6.0", False), ("6.1", True)])
def test_a_lease_outlives_one_stalled_query_between_two_beats(
    monkeypatch: pytest.MonkeyPatch, lease_seconds: str, *, allowed: bool
) -> None:
    monkeypatch.setenv("DCS_DATABASE_QUERY_DEADLINE_SECONDS", "2")
    monkeypatch.setenv("DCS_LEASE_SECONDS", lease_seconds)
    if allowed:
        assert Settings().lease_seconds == float(lease_seconds)
        return
    with pytest.raises(ValidationError, match="three times DCS_DATABASE_QUERY_DEADLINE_SECONDS"):
        Settings()


@pytest.mark.parametrize("name", ["options", "service", "sslrootcert", "passfile", "dsn", "hostaddr"])
def test_a_clients_database_has_no_field_that_libpq_would_follow_elsewhere(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        ClientDatabase.model_validate({"host": "10.0.0.7", "name": "acme", "user": "reader", name: "x"})


@pytest.mark.parametrize(
    "host",
    [
        "/var/run/postgresql",
        "@abstract",
        "10.0.0.7,10.0.0.8",
        "10.0.0.7 options=-cstatement_timeout=0",
        "postgresql://10.0.0.7",
        "127.0.0.1",
    ],
)
def test_a_host_that_is_no_plain_host_or_not_allowed_is_never_connected_to(host: str) -> None:
    database = ClientDatabase(host=host, name="acme", user="reader")
    source = DatabaseSource(
        {"acme": database.target},
        guard=Guard(["postgresql://10.0.0.7:5432"]),
        application_name="test",
        connect_timeout_seconds=1,
        query_deadline_seconds=1,
    )
    with pytest.raises(SourceRefusedError) as refused:
        source.collect(DatabaseConfig(database="acme", query="open_findings"))
    assert refused.value.field == "database"
