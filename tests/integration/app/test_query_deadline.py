"""What a dead path costs: never more than the deadline, never more than one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from structlog.testing import capture_logs

from app.database.engine import PING_DEADLINE_SECONDS, PING_IDLE_SECONDS, Database
from app.errors import DatabaseUnavailableError
from tests.support.databases import open_database, target
from tests.support.postgres import PostgresServer
from tests.support.tcp import PathState, TcpForwarder
from tests.support.waiting import eventually

DEADLINE_SECONDS = 1.0
CONNECT_TIMEOUT_SECONDS = 2


@pytest.fixture
def distant(path: TcpForwarder, database_name: str) -> Iterator[Database]:
    """A database at the other end of a path that can fail."""
    where = target(path.port, database_name)
    with closing(
        open_database(where, deadline=DEADLINE_SECONDS, connect_timeout=CONNECT_TIMEOUT_SECONDS)
    ) as database:
        yield database


def query_errors(reason: str) -> float:
    return REGISTRY.get_sample_value("dcs_db_query_errors_total", {"reason": reason}) or 0


def connect_errors() -> float:
    return REGISTRY.get_sample_value("dcs_db_connect_errors_total", {"reason": "timeout"}) or 0


def ask(database: Database) -> float:
    """Run one query; return how long it took, also when the database is unavailable."""
    started = time.monotonic()
    try:
        with database.transaction() as connection:
            connection.execute(text("SELECT 1"))
    except DatabaseUnavailableError:
        pass
    return time.monotonic() - started


def test_a_query_in_a_black_hole_is_freed_at_the_deadline(path: TcpForwarder, distant: Database) -> None:
    before = query_errors("deadline")
    with (  # noqa: PT012  the scene and its end
        capture_logs() as logs,
        pytest.raises(DatabaseUnavailableError) as freed,
        distant.transaction() as connection,
    ):
        connection.execute(text("SELECT 1"))
        path.set_state(PathState.BLACK_HOLE)
        started = time.monotonic()
        connection.execute(text("SELECT 2"))
    assert time.monotonic() - started < DEADLINE_SECONDS + 1
    assert freed.value.reason == "deadline"
    assert query_errors("deadline") == before + 1
    assert [line["event"] for line in logs] == ["db_query_deadline_exceeded"]


def test_a_commit_in_a_black_hole_is_no_success(path: TcpForwarder, distant: Database) -> None:
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError), distant.transaction() as connection:  # noqa: PT012  the scene and its end
        connection.execute(text("CREATE TABLE IF NOT EXISTS scratch (x int)"))
        path.set_state(PathState.BLACK_HOLE)
        started = time.monotonic()
    assert time.monotonic() - started < DEADLINE_SECONDS + 1


def test_a_pooled_connection_in_a_black_hole_costs_a_ping_and_a_connect(
    path: TcpForwarder, database_name: str
) -> None:
    where = target(path.port, database_name)
    patient = open_database(where, deadline=20.0, connect_timeout=CONNECT_TIMEOUT_SECONDS)
    with closing(patient):
        ask(patient)
        answered_at = time.monotonic()
        eventually(lambda: time.monotonic() - answered_at > PING_IDLE_SECONDS, within_seconds=5, what="idle")
        path.set_state(PathState.BLACK_HOLE)
        # Not the whole query deadline before it even tries to connect.
        assert ask(patient) < PING_DEADLINE_SECONDS + CONNECT_TIMEOUT_SECONDS + 2


def test_a_connection_in_use_is_not_pinged_and_one_the_server_ended_is_replaced(
    postgres: PostgresServer, distant: Database
) -> None:
    def pid() -> object:
        with distant.transaction() as connection:
            return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

    first = pid()
    latest = f"SELECT query FROM pg_stat_activity WHERE pid = {first}"  # noqa: S608
    with distant.transaction():
        assert postgres.rows(latest) == [("COMMIT",)]  # a ping would be the latest query
    before = query_errors("connection_lost")
    postgres.execute(f"SELECT pg_terminate_backend({first}, 2000)")
    # Its end has arrived: no caller fails because of a connection that was in use until just now.
    assert pid() != first
    assert query_errors("connection_lost") == before


def test_while_one_caller_finds_out_the_others_fail_at_once(path: TcpForwarder, distant: Database) -> None:
    path.set_state(PathState.BLACK_HOLE)
    ask(distant)  # now it is known to be failing
    before = connect_errors()
    with ThreadPoolExecutor(5) as threads:
        seconds = sorted(threads.map(lambda _: ask(distant), range(5)))
    assert connect_errors() == before + 1
    assert seconds[3] < 0.5
    assert seconds[4] > 1


def test_the_pool_heals_by_itself(path: TcpForwarder, distant: Database) -> None:
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(lambda _: ask(distant), range(5)))
    path.set_state(PathState.BLACK_HOLE)
    ask(distant)
    path.set_state(PathState.PASS)
    with distant.transaction() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_slow_query_is_ended_by_the_server_before_the_socket_is_cut(distant: Database) -> None:
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError) as ended, distant.transaction() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))
    assert time.monotonic() - started < DEADLINE_SECONDS + 0.5
    assert ended.value.reason == "deadline"
    assert "statement timeout" in str(ended.value.__cause__)


def test_a_lost_connection_is_told_from_a_deadline(
    postgres: PostgresServer, distant: Database, database_name: str
) -> None:
    before = query_errors("connection_lost")
    with pytest.raises(DatabaseUnavailableError) as lost, distant.transaction() as connection:  # noqa: PT012  the scene and its end
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        postgres.execute(f"SELECT pg_terminate_backend({pid}, 2000)")
        connection.execute(text("SELECT 1"))
    assert lost.value.reason == "connection_lost"
    assert query_errors("connection_lost") == before + 1


def test_a_full_pool_is_not_waited_for_long(postgres: PostgresServer, database_name: str) -> None:
    where = target(postgres.port, database_name)
    with closing(open_database(where, pool_size=1)) as small, small.transaction():
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError) as full, small.transaction():
            pass
        assert full.value.reason == "pool_timeout"
        assert time.monotonic() - started < 2


def test_no_thread_is_left_behind(path: TcpForwarder, distant: Database) -> None:
    ask(distant)
    before = set(threading.enumerate())
    path.set_state(PathState.BLACK_HOLE)
    ask(distant)
    # One thread watches all connections; only the forwarder's own are new.
    assert [
        thread.name for thread in set(threading.enumerate()) - before if "_serve" not in thread.name
    ] == []
