"""The database server as its administrator sees it: superuser over the local socket.

The socket stays when TCP does not, so this works under every fault of the network path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 the library's own name is lower case

from chaos.errors import AdapterError

CONNECT_TIMEOUT_SECONDS = 3
STATEMENT_TIMEOUT_MS = 5000


class PostgresAdmin:
    """Settings, connections and roles of one server. ``dsn`` are libpq keywords of a superuser."""

    def __init__(self, dsn: Callable[[], Mapping[str, Any]]) -> None:
        self._dsn = dsn

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            connection = psycopg2.connect(
                **self._dsn(),
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="lab-admin",
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
            )
        except psycopg2.OperationalError as error:
            raise AdapterError(
                f"postgres cannot be reached over its local socket: {error}".strip()
            ) from error
        try:
            connection.autocommit = True
            yield connection
        except psycopg2.Error as error:
            raise AdapterError(f"postgres refused its administrator: {error}".strip()) from error
        finally:
            connection.close()

    def _rows(self, query: str | sql.Composable, args: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(query, args)
            return cursor.fetchall()

    def set_setting(self, name: str, value: str) -> None:
        """Write a setting that the next start of the server takes up."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("ALTER SYSTEM SET {} = %s").format(sql.Identifier(name)), (value,))

    def has_settings(self) -> bool:
        """Return whether any setting was written so."""
        rows = self._rows(
            "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%%postgresql.auto.conf'"
        )
        return bool(rows[0][0])

    def reset_settings(self) -> None:
        """Drop every setting that was written so."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM RESET ALL")

    def end_connections(self, role: str) -> int:
        """End the connections of a role and return how many there were."""
        rows = self._rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,)
        )
        return len(rows)

    def connections(self) -> Mapping[str, int]:
        """Return open client connections per role."""
        rows = self._rows(
            "SELECT usename, count(*) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND application_name <> 'lab-admin' GROUP BY usename"
        )
        return {str(role): int(count) for role, count in rows}

    def is_lab(self, lab_id: str) -> bool:
        """Return whether the server carries the marker of this lab."""
        if self._rows("SELECT to_regclass('lab_identity')")[0][0] is None:
            return False
        return [str(row[0]) for row in self._rows("SELECT lab_id FROM lab_identity")] == [lab_id]

    def snapshot(self) -> Mapping[str, Any]:
        """Return settings, roles and waiting locks, for comparison."""
        settings = self._rows(
            "SELECT name, setting FROM pg_settings "
            "WHERE name NOT IN ('application_name', 'statement_timeout') "
            "AND source NOT IN ('session', 'client') ORDER BY name"
        )
        roles = self._rows(
            "SELECT rolname, rolcanlogin, rolsuper, rolconnlimit FROM pg_roles "
            "WHERE rolname NOT LIKE 'pg\\_%%' ORDER BY rolname"
        )
        waiting = self._rows("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return {
            "settings": {str(name): str(value) for name, value in settings},
            "roles": {str(row[0]): [bool(row[1]), bool(row[2]), int(row[3])] for row in roles},
            "locks_waiting": int(waiting[0][0]),
            "roles_connected": sorted(self.connections()),
        }
