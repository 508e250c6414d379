from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import app.migrations
from app.errors import DatabaseUnavailableError
from app.migrate import LOCK_TIMEOUT_MILLISECONDS, main, migrate
from app.migrations import HEAD
from app.models import metadata
from tests.support.databases import open_database, settings_for, target
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer


@pytest.fixture
def empty(postgres: PostgresServer) -> str:
    postgres.execute("DROP DATABASE IF EXISTS empty")
    postgres.execute("CREATE DATABASE empty OWNER dcs")
    return "empty"


def tables(postgres: PostgresServer, name: str) -> set[object]:
    return {
        row[0] for row in postgres.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)
    }


def test_up_twice_and_down_and_up_again(postgres: PostgresServer, empty: str) -> None:
    settings = settings_for(postgres.port, empty)
    migrate(settings)
    migrate(settings)
    assert {"jobs", "records", "alembic_version"} <= tables(postgres, empty)
    migrate(settings, downgrade_to="base")
    assert tables(postgres, empty) == {"alembic_version"}
    migrate(settings)
    assert {"jobs", "records"} <= tables(postgres, empty)


def test_two_at_once_take_turns(postgres: PostgresServer, empty: str) -> None:
    settings = settings_for(postgres.port, empty)
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(migrate, settings) for _ in range(2)]:
            done.result(60)
    assert {"jobs", "records", "alembic_version"} <= tables(postgres, empty)


def test_a_lock_that_is_not_to_be_had_makes_nobody_wait_for_long(
    postgres: PostgresServer, empty: str
) -> None:
    settings = settings_for(postgres.port, empty)
    migrate(settings)
    migrate(settings, downgrade_to="0001")
    with ThreadPoolExecutor(1) as pool, postgres.connection(empty) as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM jobs")  # a report that takes long
            done = pool.submit(migrate, settings)
            # Whoever comes later is not kept waiting behind the migration that waits for the report.
            give_up_at = time.monotonic() + 2
            longest = 0.0
            while time.monotonic() < give_up_at:
                asked = time.monotonic()
                assert postgres.rows("SELECT count(*) FROM jobs", empty) == [(0,)]
                longest = max(longest, time.monotonic() - asked)
            assert longest < LOCK_TIMEOUT_MILLISECONDS / 1000 + 0.7
            assert not done.done()
        connection.rollback()
        done.result(60)
    assert postgres.rows("SELECT version_num FROM alembic_version", empty) == [(HEAD,)]


def test_an_index_that_was_left_half_made_is_made_again(postgres: PostgresServer, empty: str) -> None:
    settings = settings_for(postgres.port, empty)
    migrate(settings)
    postgres.execute("UPDATE alembic_version SET version_num = '0005'", empty)
    postgres.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'jobs_list'::regclass", empty)
    migrate(settings)
    assert postgres.rows("SELECT count(*) FROM pg_index WHERE NOT indisvalid", empty) == [(0,)]


def test_the_tables_in_code_are_those_of_the_migrations(postgres: PostgresServer, empty: str) -> None:
    migrate(settings_for(postgres.port, empty))
    database = open_database(target(postgres.port, empty))
    try:
        with database.transaction() as connection:
            differences = compare_metadata(MigrationContext.configure(connection), metadata)
    finally:
        database.close()
    # Partial indexes and constraints live in the migrations only; tables and columns must agree.
    assert [one for one in differences if one[0] not in ("remove_index", "remove_constraint")] == []


def test_the_revision_that_readiness_asks_for_is_the_newest() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(app.migrations.__file__).parent).replace("%", "%%"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_an_unreachable_database_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    port = free_port()
    with pytest.raises(DatabaseUnavailableError):
        migrate(settings_for(port, "dcs"))
    monkeypatch.setenv("DCS_DATABASE_PORT", str(port))
    monkeypatch.setattr("app.migrate.configure_logging", lambda **_: None)
    assert main() == 1
