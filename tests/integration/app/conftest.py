"""A real PostgreSQL, a real Valkey, and databases migrated as an operator migrates them."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.database.engine import Database
from app.migrate import migrate
from app.objectstore.client import close_clients
from app.settings import Settings
from tests.support.access import admit_clients
from tests.support.databases import TEMPLATE, open_database, settings_for, target
from tests.support.ingest import Ingestion
from tests.support.postgres import PostgresServer
from tests.support.seaweed import SeaweedServer
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import TcpForwarder
from tests.support.upstream import Upstream
from tests.support.valkey import ValkeyServer

FINDINGS = """
    CREATE TABLE findings (
        finding_id text PRIMARY KEY, asset text NOT NULL, control text NOT NULL,
        severity integer NOT NULL, status text NOT NULL, opened_at timestamptz NOT NULL
    );
    INSERT INTO findings
    SELECT 'F-' || lpad(n::text, 4, '0'), 'asset-' || n % 3, 'AC-' || n % 7, 1 + n % 5,
           CASE WHEN n % 4 = 0 THEN 'closed' ELSE 'open' END,
           '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 h'
    FROM generate_series(1, 40) AS n
"""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server with the role ``dcs``, a migrated template, and a client's database ``acme``."""
    with closing(PostgresServer()) as server:
        server.start(max_connections=100)
        server.execute("CREATE ROLE dcs LOGIN")
        server.execute(f"CREATE DATABASE {TEMPLATE} OWNER dcs")
        migrate(settings_for(server.port, TEMPLATE))
        admit_clients(server.port, TEMPLATE)
        server.execute("CREATE ROLE reader LOGIN")
        server.execute("CREATE DATABASE acme")
        server.execute(FINDINGS, "acme")
        server.execute("GRANT SELECT ON findings TO reader", "acme")
        yield server


@pytest.fixture
def path(postgres: PostgresServer) -> Iterator[TcpForwarder]:
    """A way to the server that can fail."""
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        yield path


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with closing(ValkeyServer()) as server:
        server.start()
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[SeaweedServer]:
    with closing(SeaweedServer()) as server:
        server.start()
        yield server
        close_clients()


@pytest.fixture(scope="module")
def database_name(postgres: PostgresServer) -> str:
    """A migrated database of this module's own."""
    name = f"dcs_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER dcs")
    return name


@pytest.fixture
def database(postgres: PostgresServer, database_name: str) -> Iterator[Database]:
    """A pool on the module's database, whose tables are emptied first."""
    postgres.execute("TRUNCATE jobs CASCADE", database_name)
    with closing(open_database(target(postgres.port, database_name))) as database:
        yield database


@pytest.fixture
def ingest_settings(
    postgres: PostgresServer, s3: SeaweedServer, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """What ingestion without processes is set to."""
    schema = {"findings": {"key": "id", "required": ["asset"], "types": {"severity": "integer"}}}
    values = s3.settings() | {
        "DCS_INGEST_DATASETS": json.dumps(schema),
        "DCS_INGEST_FILE_BYTES_MAX": "3000000",
        "DCS_INGEST_MAX_ATTEMPTS": "2",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return settings_for(postgres.port, database_name)


@pytest.fixture
def ingestion(
    database: Database,
    s3: SeaweedServer,
    ingest_settings: Settings,
    postgres: PostgresServer,
    database_name: str,
) -> Ingestion:
    """Ingestion on tables and a bucket that are empty."""
    tables = "ingest_files, ingested_rows, ingest_rejects, ingest_days, ingest_runs"
    postgres.execute(f"TRUNCATE {tables}", database_name)
    s3.empty()
    return Ingestion(database, s3, ingest_settings)


@pytest.fixture
def day() -> str:
    """A day of the test's own: the bucket is shared."""
    return (dt.date(2026, 1, 1) + dt.timedelta(days=next(_numbers))).isoformat()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def file_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")
    (root / "acme").mkdir()
    (root / "acme" / "assets.csv").write_text("id,name\n" + "".join(f"{n},asset-{n}\n" for n in range(12)))
    (root / "acme" / "events.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    return root


@pytest.fixture(scope="module")
def service_settings(
    postgres: PostgresServer, valkey: ValkeyServer, database_name: str, upstream: Upstream, file_root: Path
) -> dict[str, str]:
    """What a process of the service needs here, with times short enough for tests."""
    client = f'{{"host": "127.0.0.1", "port": {postgres.port}, "name": "acme", "user": "reader"}}'
    return {
        "DCS_INSTANCE": "test-1",
        "DCS_DATABASE_PORT": str(postgres.port),
        "DCS_DATABASE_NAME": database_name,
        "DCS_DATABASE_CONNECT_TIMEOUT_SECONDS": "2",
        "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "1.2",
        "DCS_DATABASE_POOL_SIZE": "4",
        "DCS_REDIS_URL": valkey.url,
        "DCS_API_SOURCES": f'{{"evidence": "{upstream.url}"}}',
        "DCS_CLIENT_DATABASES": f'{{"acme": {client}}}',
        "DCS_SOURCES_ALLOW": f'["{upstream.url}", "postgresql://127.0.0.1:{postgres.port}"]',
        "DCS_FILE_ROOT": str(file_root),
        "DCS_LEASE_SECONDS": "4",
        "DCS_RECONCILE_INTERVAL_SECONDS": "0.3",
        "DCS_POLL_INTERVAL_SECONDS": "0.5",
        "DCS_PROBE_INTERVAL_SECONDS": "0.3",
        "DCS_SOURCE_TIMEOUT_SECONDS": "20",
    }


@pytest.fixture
def start(service_settings: dict[str, str]) -> Iterator[Start]:
    """Return a function that starts a process, which ends with the test."""
    with ExitStack() as stack:

        def start(module: str, **overrides: str) -> ServiceProcess:
            process = ServiceProcess(module, {**service_settings, **overrides})
            stack.callback(process.close)
            process.wait_until_live()
            return process

        yield start


@pytest.fixture(scope="module")
def api(service_settings: dict[str, str]) -> Iterator[ServiceProcess]:
    """An API on the module's database."""
    with closing(ServiceProcess("app.main", service_settings)) as process:
        process.wait_until_live()
        yield process


@pytest.fixture(scope="module")
def worker(service_settings: dict[str, str]) -> Iterator[ServiceProcess]:
    """A worker on the module's database."""
    with closing(ServiceProcess("app.worker", service_settings | {"DCS_INSTANCE": "worker-1"})) as process:
        process.wait_until_live()
        yield process
