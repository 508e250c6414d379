"""The ``database`` source against a PostgreSQL that has TLS, and one that has not."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from app.net.addresses import IPAddress
from app.net.guard import Guard
from app.settings import ClientDatabase
from app.sources import SourceError
from app.sources.database import DatabaseConfig, DatabaseSource
from tests.support.certificates import Authority, Pair
from tests.support.debian import debian_postgres
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

HOST = "db.client.test"
FINDINGS = """
    CREATE TABLE findings (finding_id text, asset text, control text, severity int, status text, opened_at timestamptz);
    INSERT INTO findings VALUES ('F-1', 'a', 'c', 5, 'open', now());
    CREATE ROLE reader LOGIN; GRANT SELECT ON findings TO reader;
"""  # noqa: E501
CONFIG = DatabaseConfig(database="acme", query="open_findings")


class TlsServer:
    """Debian's server, whose certificate can be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        installed = debian_postgres()
        self.authority = Authority(folder)
        self.server = PostgresServer(installed.programs, installed.libraries)
        self._place(self.authority.issue(HOST))
        tls = {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
        self.server.start(**tls, log_connections="on", timezone="GMT")
        self.server.execute(FINDINGS)

    def _place(self, pair: Pair) -> None:
        for source, name in ((pair.certificate, "server.crt"), (pair.key, "server.key")):
            placed = self.server.data / name
            placed.unlink(missing_ok=True)
            shutil.copyfile(source, placed)
            placed.chmod(0o600)
            if self.server.user is not None:
                entry = pwd.getpwnam(self.server.user)
                os.chown(placed, entry.pw_uid, entry.pw_gid)

    def use(self, pair: Pair) -> None:
        """Present another certificate from now on."""
        was = self.server.rows("SELECT pg_conf_load_time()")
        self._place(pair)
        self.server.execute("SELECT pg_reload_conf()")
        eventually(
            lambda: self.server.rows("SELECT pg_conf_load_time()") != was,
            within_seconds=10,
            what="the certificate is read",
        )


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    tls = TlsServer(tmp_path_factory.mktemp("tls"))
    with closing(tls.server):
        yield tls


def loopback(name: str, timeout_seconds: float) -> Sequence[IPAddress]:
    return [ipaddress.ip_address("127.0.0.1")]


def source(port: int, **settings: object) -> DatabaseSource:
    database = ClientDatabase.model_validate(
        {"host": HOST, "port": port, "name": "postgres", "user": "reader", **settings}
    )
    entries = [f"postgresql://{database.host}:{port}", f"postgresql://127.0.0.1:{port}"]
    return DatabaseSource(
        {"acme": database.target},
        guard=Guard(entries, resolver=loopback),
        application_name="test",
        connect_timeout_seconds=5,
        query_deadline_seconds=5,
    )


def failure(port: int, **settings: object) -> SourceError:
    with pytest.raises(SourceError) as failed:
        source(port, **settings).collect(CONFIG)
    return failed.value


def test_a_remote_host_is_asked_for_tls_and_given_ten_seconds_by_default() -> None:
    target = ClientDatabase(host=HOST, name="acme", user="reader").target
    assert (target.sslmode, target.connect_timeout_seconds) == ("require", None)


def test_with_tls_rows_come_through_it(tls: TlsServer) -> None:
    assert source(tls.server.port).collect(CONFIG)[0]["finding_id"] == "F-1"
    said = "user=reader database=postgres application_name=test SSL enabled"
    eventually(lambda: said in tls.server.log(), within_seconds=10, what="the server saw TLS")


def test_a_server_without_tls_is_refused(postgres: PostgresServer) -> None:
    failed = failure(postgres.port)
    assert (failed.reason, failed.retryable) == ("tls", True)
    assert "does not support SSL" in str(failed)


def test_the_certificate_of_the_named_authority_is_believed(tls: TlsServer) -> None:
    verified = source(tls.server.port, sslmode="verify-full", ca_file=tls.authority.certificate)
    assert len(verified.collect(CONFIG)) == 1


def test_another_authority_is_not(tls: TlsServer, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    failed = failure(tls.server.port, sslmode="verify-full", ca_file=other.certificate)
    assert (failed.reason, "certificate verify failed" in str(failed)) == ("tls", True)


def test_a_certificate_for_another_name_is_not_believed(tls: TlsServer) -> None:
    asked = {"sslmode": "verify-full", "ca_file": tls.authority.certificate, "host": "other.client.test"}
    failed = failure(tls.server.port, **asked)
    assert (failed.reason, "does not match host name" in str(failed)) == ("tls", True)
    assert source(tls.server.port, **{**asked, "sslmode": "verify-ca"}).collect(CONFIG)


def test_an_expired_certificate_is_not_believed(tls: TlsServer) -> None:
    tls.use(tls.authority.issue(HOST, expired=True))
    try:
        failed = failure(tls.server.port, sslmode="verify-full", ca_file=tls.authority.certificate)
        assert (failed.reason, "certificate verify failed" in str(failed)) == ("tls", True)
    finally:
        tls.use(tls.authority.issue(HOST))
    assert source(tls.server.port, sslmode="verify-full", ca_file=tls.authority.certificate).collect(CONFIG)


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
def test_verifying_against_nothing_is_refused_at_the_start(sslmode: str) -> None:
    with pytest.raises(ValueError, match="ca_file"):
        ClientDatabase.model_validate({"host": HOST, "name": "x", "user": "x", "sslmode": sslmode})
