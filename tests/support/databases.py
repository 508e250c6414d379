"""The service's database as its own code opens it."""

from __future__ import annotations

from app.database.engine import ConnectOptions, Database
from app.settings import DatabaseTarget, Settings

TEMPLATE = "dcs_template"
"""A migrated database that others are copied from."""


def settings_for(port: int, name: str) -> Settings:
    return Settings(database_port=port, database_name=name, database_connect_timeout_seconds=2)


def target(port: int, name: str = "postgres", user: str = "dcs", host: str = "127.0.0.1") -> DatabaseTarget:
    return DatabaseTarget(host, port, name, user, None, "disable")


def open_database(
    where: DatabaseTarget, *, deadline: float = 1.0, connect_timeout: int = 2, pool_size: int = 5
) -> Database:
    options = ConnectOptions("test", connect_timeout=connect_timeout, query_deadline=deadline)
    return Database(where, options, pool_size=pool_size, pool_timeout_seconds=1.0)
