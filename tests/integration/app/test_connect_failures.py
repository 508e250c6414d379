"""Each reason, from a server or a path that is really in that state."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg2
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.database.engine import ConnectError, ConnectOptions, Connector
from app.settings import DatabaseTarget
from tests.support.databases import target
from tests.support.ports import free_port
from tests.support.postgres import SUPERUSER, PostgresServer
from tests.support.tcp import PathState, TcpForwarder
from tests.support.waiting import eventually


def reason(where: DatabaseTarget, connect_timeout: int = 2) -> str:
    """Return why connecting fails, and see that the failure was counted and logged under that reason."""
    connector = Connector(where, ConnectOptions("test", connect_timeout, query_deadline=1.0))

    def count(label: str) -> float:
        return REGISTRY.get_sample_value("dcs_db_connect_errors_total", {"reason": label}) or 0

    before = {label: count(label) for label in ("refused", "closed", "timeout", "starting", "auth", "dns")}
    with capture_logs() as logs, pytest.raises(ConnectError) as failed:
        connector.connect().close()
    found = failed.value.reason.value
    if found in before:
        assert count(found) == before[found] + 1
    event = next(line for line in logs if line["event"] == "db_connect_failed")
    assert (event["reason"], event["target_host"], event["target_port"]) == (found, where.host, where.port)
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests restart as they like; between them it is stopped."""
    with closing(PostgresServer()) as server:
        server.start()
        server.execute("CREATE ROLE dcs LOGIN")
        server.execute("CREATE ROLE limited LOGIN CONNECTION LIMIT 0")
        server.execute("CREATE ROLE secretive LOGIN PASSWORD 'right'")
        hba = server.data / "pg_hba.conf"
        hba.write_text("host all secretive 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        server.stop(signal.SIGINT)
        yield server


@pytest.fixture
def running(server: PostgresServer) -> Iterator[Callable[..., PostgresServer]]:
    def start(**parameters: str | int) -> PostgresServer:
        server.start(**parameters)
        return server

    yield start
    server.stop()


def test_a_healthy_server_is_no_failure(postgres: PostgresServer) -> None:
    connector = Connector(target(postgres.port), ConnectOptions("test", 2, 1.0))
    with closing(connector.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('application_name')")
        assert cursor.fetchone() == ("900ms", "test")


def test_refused_by_a_closed_port() -> None:
    assert reason(target(free_port())) == "refused"


def test_refused_by_a_path_that_was_closed(path: TcpForwarder) -> None:
    path.set_state(PathState.REFUSE)
    assert reason(target(path.port)) == "refused"


def test_refused_by_a_server_that_listens_on_its_socket_only(running: Callable[..., PostgresServer]) -> None:
    server = running(listen_addresses="")
    assert server.rows("SELECT 1") == [(1,)]  # running and healthy
    assert reason(target(server.port)) == "refused"


def test_refused_on_both_addresses_of_a_name() -> None:
    assert reason(target(free_port(), host="localhost")) == "refused"


def test_closed_by_a_proxy_whose_server_is_dead(path: TcpForwarder) -> None:
    path.set_state(PathState.CLOSE)
    assert reason(target(path.port)) == "closed"


def test_timeout_in_a_black_hole(path: TcpForwarder) -> None:
    path.set_state(PathState.BLACK_HOLE)
    assert reason(target(path.port), connect_timeout=1) == "timeout"


def test_starting_while_a_server_recovers(server: PostgresServer) -> None:
    recovery = server.data / "recovery.signal"
    recovery.touch()
    try:
        # Recovery asks for its first segment before it lets anybody in.
        server.launch(restore_command="/bin/sleep 60; /bin/false")
        starting = eventually(
            lambda: _is_starting(target(server.port)), within_seconds=10, what="the server is starting"
        )
        assert starting
        assert reason(target(server.port)) == "starting"
    finally:
        server.stop()
        recovery.unlink()


def _is_starting(where: DatabaseTarget) -> bool:
    try:
        psycopg2.connect(host=where.host, port=where.port, user=where.user, dbname=where.name).close()
    except psycopg2.OperationalError as exc:
        return "starting up" in str(exc)
    return False


def test_stopping_while_a_server_waits_for_its_last_client(running: Callable[..., PostgresServer]) -> None:
    server = running()
    with server.connection() as last:
        process = server.send_signal(signal.SIGTERM)
        eventually(lambda: "smart shutdown" in server.log(), within_seconds=10, what="smart shutdown")
        assert reason(target(server.port)) == "stopping"
        assert last.closed == 0
    process.wait(10)


def test_too_many_clients_when_only_reserved_slots_are_left(running: Callable[..., PostgresServer]) -> None:
    server = running(max_connections=5, superuser_reserved_connections=3, max_wal_senders=0)
    with ExitStack() as clients:
        for _ in range(2):
            # The connection that saw the server start may still hold a slot for a moment.
            client = eventually(lambda: _client(server, "dcs"), within_seconds=10, what="a free slot")
            clients.enter_context(closing(client))
        assert reason(target(server.port)) == "too_many_clients"


def _client(server: PostgresServer, user: str) -> psycopg2.extensions.connection | None:
    try:
        return psycopg2.connect(host="127.0.0.1", port=server.port, user=user, dbname="postgres")
    except psycopg2.OperationalError:
        return None


def test_too_many_clients_when_nothing_is_left(running: Callable[..., PostgresServer]) -> None:
    server = running(max_connections=5, superuser_reserved_connections=3, max_wal_senders=0)
    with ExitStack() as clients:
        for _ in range(5):
            client = eventually(lambda: _client(server, SUPERUSER), within_seconds=10, what="a free slot")
            clients.enter_context(closing(client))
        assert reason(target(server.port)) == "too_many_clients"


def test_too_many_clients_of_one_role(running: Callable[..., PostgresServer]) -> None:
    assert reason(target(running().port, user="limited")) == "too_many_clients"


def test_auth_with_a_wrong_password(running: Callable[..., PostgresServer], tmp_path: Path) -> None:
    server = running()
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    where = DatabaseTarget("127.0.0.1", server.port, "postgres", "secretive", secret, "disable")
    assert reason(where) == "auth"
    secret.write_text("right\n")
    Connector(where, ConnectOptions("test", 2, 1.0)).connect().close()


def test_auth_as_a_role_that_does_not_exist(postgres: PostgresServer) -> None:
    assert reason(target(postgres.port, user="nobody_at_all")) == "auth"


def test_dns_of_a_name_that_cannot_exist() -> None:
    assert reason(target(5432, host="nowhere.invalid")) == "dns"


def test_unreachable_network() -> None:
    # The kernel refuses to open a TCP connection to a broadcast address.
    assert reason(target(5432, host="127.255.255.255")) == "unreachable"


def test_other_is_what_is_left(postgres: PostgresServer) -> None:
    assert reason(target(postgres.port, name="no_such_database")) == "other"


def test_a_missing_password_file_is_counted_too(postgres: PostgresServer, tmp_path: Path) -> None:
    where = DatabaseTarget("127.0.0.1", postgres.port, "postgres", "dcs", tmp_path / "none", "disable")
    assert reason(where) == "other"
