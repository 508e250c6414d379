"""Bring the schema to the newest revision: ``python -m app.migrate``. Harmless when it is there already."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import sqlalchemy
import structlog
from alembic import command
from alembic.config import Config
from psycopg2.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.exc import DBAPIError

from app import __version__
from app.database.engine import ConnectOptions, Database
from app.errors import DatabaseUnavailableError
from app.settings import Settings
from app.telemetry.logging import configure_logging

MIGRATION_DEADLINE_SECONDS = 900.0  # of one statement: an index of a big table takes its time
LOCK_TIMEOUT_MILLISECONDS = 500
"""Well below any deadline of the service: everybody who wants the table waits behind us."""
LOCK_RETRY_PAUSE_SECONDS = 0.5
LOCK_RETRY_SECONDS_MAX = 60.0
_LOCK = 0x0DC5_0001  # one migration at a time, whoever starts it

log = structlog.get_logger()


def _database(settings: Settings) -> Database:
    options = ConnectOptions(
        application_name=f"{settings.instance}-migrate",
        connect_timeout=settings.database_connect_timeout_seconds,
        query_deadline=MIGRATION_DEADLINE_SECONDS,
    )
    return Database(settings.database, options, pool_size=1, pool_timeout_seconds=1.0)


def _config(connection: sqlalchemy.Connection) -> Config:
    config = Config()
    # ConfigParser would take a % in the checkout's path for interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def migrate(settings: Settings, *, downgrade_to: str | None = None) -> None:
    """Upgrade to the newest revision, or downgrade to the one named, while the service runs.

    Each revision is a transaction of its own. One that does not get a lock at once gives way to the service,
    which would queue up behind it, and tries again.

    Raises:
        DatabaseUnavailableError: The database cannot be reached, or a lock was never to be had.

    """
    database = _database(settings)
    try:
        with database.connection() as connection:
            _await_turn(connection)
            connection.execute(sqlalchemy.text(f"SET lock_timeout = '{LOCK_TIMEOUT_MILLISECONDS}ms'"))
            connection.commit()
            _run(connection, downgrade_to)
    finally:
        database.close()


def _await_turn(connection: sqlalchemy.Connection) -> None:
    # Asked again and again: one that waits inside the database would hold a snapshot, which an index that
    # another process creates concurrently waits for in turn.
    query = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)")
    give_up_at = time.monotonic() + MIGRATION_DEADLINE_SECONDS
    while not connection.execute(query, {"key": _LOCK}).scalar_one():
        connection.rollback()
        if time.monotonic() > give_up_at:
            raise DatabaseUnavailableError("another_migration")
        time.sleep(LOCK_RETRY_PAUSE_SECONDS)
    connection.commit()


def _run(connection: sqlalchemy.Connection, downgrade_to: str | None) -> None:
    give_up_at = time.monotonic() + LOCK_RETRY_SECONDS_MAX
    while True:
        try:
            if downgrade_to is None:
                command.upgrade(_config(connection), "head")
            else:
                command.downgrade(_config(connection), downgrade_to)
        except DBAPIError as exc:
            connection.rollback()
            if not isinstance(exc.orig, LockNotAvailable | DeadlockDetected) or time.monotonic() > give_up_at:
                raise
            log.warning("migration_waits_for_lock", error=str(exc.orig).strip())
            # What was done so far is kept: the next attempt goes on with the revision that failed.
            time.sleep(LOCK_RETRY_PAUSE_SECONDS * (0.5 + random.random()))  # noqa: S311  only to spread
        else:
            connection.commit()
            return


def main() -> int:
    """Migrate; exit code 1 when the database cannot be reached."""
    settings = Settings()
    configure_logging(
        service="migrate", instance=settings.instance, environment=settings.environment, version=__version__
    )
    try:
        migrate(settings)
    except DatabaseUnavailableError as exc:
        log.error("migration_failed", reason=exc.reason, database_target=str(settings.database))  # noqa: TRY400
        return 1
    log.info("migration_completed", database_target=str(settings.database))
    return 0


if __name__ == "__main__":
    sys.exit(main())
