"""A real PostgreSQL and a real Valkey for directed runs; each run has a database of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.migrate import migrate
from chaos.ledger import workload
from tests.support.access import admit_clients
from tests.support.databases import TEMPLATE, settings_for
from tests.support.postgres import SUPERUSER, PostgresServer
from tests.support.scene import Scene
from tests.support.service import ROOT
from tests.support.upstream import Upstream
from tests.support.valkey import ValkeyServer

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with closing(PostgresServer()) as server:
        server.start(max_connections=60)
        server.execute("CREATE ROLE dcs LOGIN")
        server.execute(f"CREATE DATABASE {TEMPLATE} OWNER dcs")
        migrate(settings_for(server.port, TEMPLATE))
        admit_clients(server.port, TEMPLATE)
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with closing(ValkeyServer()) as server:
        server.start()
        yield server


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def database_name(postgres: PostgresServer) -> str:
    name = f"ledger_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER dcs")
    return name


@pytest.fixture(scope="module")
def file_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")
    for name, text in workload.files().items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def scene(  # noqa: PLR0917  fixtures
    postgres: PostgresServer,
    valkey: ValkeyServer,
    upstream: Upstream,
    database_name: str,
    file_root: Path,
    tmp_path: Path,
) -> Iterator[Callable[..., Scene]]:
    """Return a function that sets a scene for the service in a folder, by default ours."""
    settings = {
        "DCS_DATABASE_PORT": str(postgres.port),
        "DCS_DATABASE_NAME": database_name,
        "DCS_DATABASE_CONNECT_TIMEOUT_SECONDS": "2",
        "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "0.6",
        "DCS_DATABASE_POOL_SIZE": "4",
        "DCS_REDIS_URL": valkey.url,
        "DCS_API_SOURCES": f'{{"evidence": "{upstream.url}"}}',
        "DCS_SOURCES_ALLOW": f'["{upstream.url}"]',
        "DCS_FILE_ROOT": str(file_root),
        "DCS_LEASE_SECONDS": "2",
        "DCS_RECONCILE_INTERVAL_SECONDS": "0.2",
        "DCS_POLL_INTERVAL_SECONDS": "0.2",
        "DCS_PROBE_INTERVAL_SECONDS": "0.5",
        "DCS_SOURCE_TIMEOUT_SECONDS": "20",
        "DCS_WORKER_THREADS": "1",
    }
    dsn = {"host": str(postgres.run_dir), "port": postgres.port, "user": SUPERUSER, "dbname": database_name}
    with ExitStack() as stack:
        yield lambda root=ROOT: Scene(stack, root, settings, dsn, tmp_path)
