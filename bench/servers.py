"""PostgreSQL and Valkey as the measurements use them: durable, local, without a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from app.migrate import migrate
from tests.support.databases import settings_for
from tests.support.postgres import PostgresServer
from tests.support.valkey import ValkeyServer

POSTGRES_PARAMETERS: dict[str, str | int] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Exact times of commits, whoever made them.
    "track_commit_timestamp": "on",
    "shared_buffers": "256MB",
    "max_connections": 150,
    # A checkpoint in the middle of one round and not of another would be noise.
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}

PLAIN = "plain"
"""Database of the comparators: one table like the service's ``records``."""
OURS = "ours"
"""Database of the service, migrated."""

_PLAIN_TABLE = """
    CREATE TABLE rows (
        job_id  uuid NOT NULL,
        ordinal integer NOT NULL CHECK (ordinal >= 0),
        content jsonb NOT NULL,
        PRIMARY KEY (job_id, ordinal)
    )
"""


@dataclass(frozen=True)
class Servers:
    """Both servers, and the databases on them."""

    postgres: PostgresServer
    valkey: ValkeyServer

    @property
    def broker_url(self) -> str:
        """A Redis database of the comparators' own."""
        return f"redis://127.0.0.1:{self.valkey.port}/1"

    @property
    def plain_dsn(self) -> str:
        """What the comparators connect to."""
        return f"host=127.0.0.1 port={self.postgres.port} user=dcs dbname={PLAIN}"

    def service_settings(self) -> dict[str, str]:
        """Return what a process of the service needs."""
        return {
            "DCS_DATABASE_PORT": str(self.postgres.port),
            "DCS_DATABASE_NAME": OURS,
            "DCS_REDIS_URL": self.valkey.url,
        }


@contextmanager
def servers() -> Iterator[Servers]:
    """Run both servers, with the databases made."""
    with closing(PostgresServer()) as postgres, closing(ValkeyServer()) as valkey:
        postgres.start(**POSTGRES_PARAMETERS)
        postgres.execute("CREATE ROLE dcs LOGIN")
        for name in (OURS, PLAIN):
            postgres.execute(f"CREATE DATABASE {name} OWNER dcs")
        migrate(settings_for(postgres.port, OURS))
        postgres.execute(_PLAIN_TABLE, PLAIN)
        postgres.execute("ALTER TABLE rows OWNER TO dcs", PLAIN)
        valkey.start()
        yield Servers(postgres, valkey)
