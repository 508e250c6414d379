"""Bring the schema to the newest revision: ``python -m app.migrate``. Harmless when it is there already."""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy
import structlog
from alembic import command
from alembic.config import Config

from app import __version__
from app.database.engine import ConnectOptions, Database
from app.errors import DatabaseUnavailableError
from app.settings import Settings
from app.telemetry.logging import configure_logging

MIGRATION_DEADLINE_SECONDS = 60.0
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
    """Upgrade to the newest revision, or downgrade to the one named, in one transaction.

    Raises:
        DatabaseUnavailableError: The database cannot be reached.

    """
    database = _database(settings)
    try:
        with database.transaction() as connection:
            connection.execute(sqlalchemy.text("SET LOCAL lock_timeout = '30s'"))
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if downgrade_to is None:
                command.upgrade(_config(connection), "head")
            else:
                command.downgrade(_config(connection), downgrade_to)
    finally:
        database.close()


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
