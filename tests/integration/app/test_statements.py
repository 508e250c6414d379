"""A statement as a transaction of its own: one round trip, and its connection comes back whatever happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from app.database.engine import PING_IDLE_SECONDS, Database
from app.errors import DatabaseUnavailableError
from tests.support.databases import open_database, target
from tests.support.postgres import PostgresServer

POOL_SIZE = 2
TALKED_OF = "talked"


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of the test's own, which writes down everything that it is told."""
    with closing(PostgresServer()) as server:
        server.start(log_statement="all")
        server.execute("CREATE ROLE dcs LOGIN")
        server.execute(f"CREATE DATABASE {TALKED_OF} OWNER dcs")
        yield server


@pytest.fixture
def pool(server: PostgresServer) -> Iterator[Database]:
    with closing(open_database(target(server.port, TALKED_OF), pool_size=POOL_SIZE)) as database:
        yield database


def in_use(database: Database) -> int:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


def test_the_server_is_told_the_statement_and_nothing_else(server: PostgresServer, pool: Database) -> None:
    for number in range(4):
        with pool.statement() as connection:
            connection.execute(text(f"SELECT 'mark {number}'"))
    log = (server.home / "postgres.log").read_text()
    told = [line.partition("statement: ")[2] for line in log.splitlines() if "statement: " in line]
    first = next(number for number, line in enumerate(told) if "mark 0" in line)
    assert told[first:] == [f"SELECT 'mark {number}'" for number in range(4)]


def test_a_transaction_is_one_also_on_a_connection_that_ran_statements(pool: Database) -> None:
    with pool.statement() as connection:
        connection.execute(text("CREATE TABLE kept (n integer)"))
    with contextlib.suppress(ZeroDivisionError), pool.transaction() as connection:
        connection.execute(text("INSERT INTO kept VALUES (1)"))
        raise ZeroDivisionError
    with pool.statement() as connection:
        assert connection.execute(text("SELECT count(*) FROM kept")).scalar_one() == 0


def test_another_isolation_level_is_set_back(pool: Database) -> None:
    shown = text("SHOW transaction_isolation")
    for _ in range(2):
        with pool.engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
            assert connection.execute(shown).scalar_one() == "serializable"
        with pool.transaction() as connection:
            assert connection.execute(shown).scalar_one() == "read committed"


def test_a_server_that_ends_between_statement_and_return_costs_no_connection(
    server: PostgresServer, pool: Database
) -> None:
    def statement(*, ended: bool) -> None:
        with pool.statement() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            if ended:
                server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")

    for _ in range(POOL_SIZE + 1):
        # Only a connection that has been used before is set back by more than a flag, hence thrice.
        for ended in (False, False, True):
            with contextlib.suppress(DatabaseUnavailableError):
                statement(ended=ended)
            assert in_use(pool) == 0
    time.sleep(PING_IDLE_SECONDS)
    statement(ended=False)


def test_a_server_that_ends_during_a_statement_costs_no_connection(
    server: PostgresServer, pool: Database
) -> None:
    def end_during() -> None:
        with pool.statement() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
            connection.execute(text("SELECT 1"))

    for _ in range(POOL_SIZE + 1):
        for _ in range(2):
            with pool.statement() as connection:
                connection.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailableError):
            end_during()
        assert in_use(pool) == 0
