"""A release under load: the schema is migrated, versions stand side by side, and everything goes back."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.migrations import HEAD
from tests.support import previous_release
from tests.support.access import admit_clients, headers_of
from tests.support.callers import FILE_JOB, Load
from tests.support.postgres import PostgresServer
from tests.support.rolling import wait_until_ready
from tests.support.scene import mutated_service
from tests.support.service import ROOT, ServiceProcess
from tests.support.upstream import TOTAL
from tests.support.waiting import eventually

API, WORKER = "app.main", "app.worker"
API_JOB = {
    "source_type": "api",
    "config": {"endpoint": "evidence", "resource": "controls", "page_size": 50},
}
FILE_RECORDS, API_RECORDS = 12, TOTAL
CALLS_EACH = 60
"""Of every situation; four callers make them in about a second."""
LONGEST_SECONDS = 5.0
"""A lock that is waited for takes 0.5 s; the rest is a machine that starts processes meanwhile."""
DONE_SECONDS_MAX = 60.0

_numbers = itertools.count(1)


class Site:
    """A database that the release before has made, and processes of both releases."""

    def __init__(
        self, old: Path, settings: dict[str, str], postgres: PostgresServer, stack: ExitStack
    ) -> None:
        self.old = old
        self.settings = settings
        self.postgres = postgres
        self.database = settings["DCS_DATABASE_NAME"]
        self._stack = stack

    def start(self, root: Path, module: str, *instances: str) -> list[ServiceProcess]:
        """Start processes of the release in a folder and wait until they may get work."""
        started = [
            ServiceProcess(module, {**self.settings, "DCS_INSTANCE": instance}, root=root)
            for instance in instances
        ]
        for process in started:
            self._stack.callback(process.close)
        for process in started:
            process.wait_until_live()
            if module == API:
                wait_until_ready(process)
        return started

    def revision(self) -> object:
        return self.postgres.rows("SELECT version_num FROM alembic_version", self.database)[0][0]

    def states(self) -> dict[str, object]:
        """Return how many jobs are in which state."""
        rows = self.postgres.rows("SELECT state, count(*) FROM jobs GROUP BY state", self.database)
        return {str(row[0]): row[1] for row in rows}


@pytest.fixture(scope="module")
def old_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return previous_release.unpack(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def site(old_release: Path, service_settings: dict[str, str], postgres: PostgresServer) -> Iterator[Site]:
    name = f"releases_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} OWNER dcs")
    settings = service_settings | {
        "DCS_DATABASE_NAME": name,
        # As in production: a machine that starts processes all the time is slow enough.
        "DCS_DATABASE_QUERY_DEADLINE_SECONDS": "3",
        "DCS_LEASE_SECONDS": "60",
    }
    previous_release.migrate(old_release, settings)
    with ExitStack() as stack:
        yield Site(old_release, settings, postgres, stack)


def load_on(apis: list[ServiceProcess]) -> Load:
    # The release before knows no keys, and takes everybody for this client.
    return Load([api.url for api in apis], headers_of("default"), jobs=[FILE_JOB, API_JOB])


def leave(processes: list[ServiceProcess]) -> None:
    assert [process.terminate() for process in processes] == [0] * len(processes)


def move(load: Load, to: list[ServiceProcess], *, leaving: list[ServiceProcess]) -> None:
    """Have callers go elsewhere, and stop the APIs that nobody calls any more."""
    load.urls = tuple(api.url for api in to)
    load.wait_for(CALLS_EACH)
    leave(leaving)
    load.wait_for(CALLS_EACH)


def together(load: Load, apis: list[ServiceProcess]) -> None:
    """Have callers call all of these and see that each answers."""
    load.urls = tuple(api.url for api in apis)
    before = load.outcome.answered_by.copy()
    load.wait_for(CALLS_EACH)
    for api in apis:
        assert load.outcome.answered_by[api.url] > before[api.url], api.url


@pytest.mark.timeout(300)
def test_a_release_and_the_way_back_fail_no_call_and_lose_no_job(site: Site) -> None:
    old_workers = site.start(site.old, WORKER, "worker-1", "worker-2")
    old_apis = site.start(site.old, API, "api-1", "api-2")
    assert site.revision() == previous_release.REVISION
    # Who sends no key is let in: this is the release before.
    assert old_apis[0].get(f"/api/v1/jobs/status/{'0' * 32}", client=None).status_code == 404
    with load_on(old_apis) as load:
        load.wait_for(CALLS_EACH)

        previous_release.migrate(ROOT, site.settings)
        assert site.revision() == HEAD
        load.wait_for(CALLS_EACH)

        admit_clients(site.postgres.port, site.database)
        new_workers = site.start(ROOT, WORKER, "worker-3", "worker-4")
        load.wait_for(CALLS_EACH)
        leave(old_workers)
        load.wait_for(CALLS_EACH)
        new_apis = site.start(ROOT, API, "api-3", "api-4")
        assert new_apis[0].get(f"/api/v1/jobs/status/{'0' * 32}", client=None).status_code == 401
        together(load, old_apis + new_apis)
        move(load, new_apis, leaving=old_apis)

        old_apis = site.start(site.old, API, "api-5")
        together(load, old_apis + new_apis)
        move(load, old_apis, leaving=new_apis)
        site.start(site.old, WORKER, "worker-5")
        load.wait_for(CALLS_EACH)
        leave(new_workers)
        load.wait_for(CALLS_EACH)

    outcome = load.outcome
    print(f"{outcome.calls} calls, {len(outcome.jobs)} jobs, longest {outcome.longest_seconds:.2f} s")
    assert outcome.failures == []
    assert outcome.longest_seconds < LONGEST_SECONDS
    submitted = len(outcome.jobs)
    eventually(
        lambda: site.states() == {"succeeded": submitted},
        within_seconds=DONE_SECONDS_MAX,
        what=f"all of {submitted} jobs have succeeded; now {site.states()}",
    )
    jobs_and_records(site, outcome.jobs)


def jobs_and_records(site: Site, submitted: list[str]) -> None:
    """Every job is one that was submitted, ran once, and has its records once."""
    rows = site.postgres.rows(
        "SELECT id::text, source_type, attempt, rescues,"
        " (SELECT count(*) FROM records WHERE job_id = jobs.id) FROM jobs",
        site.database,
    )
    assert sorted(str(row[0]) for row in rows) == sorted(submitted)
    assert {row[1:] for row in rows} == {("file", 1, 0, FILE_RECORDS), ("api", 1, 0, API_RECORDS)}


def planted(*sql: str) -> Callable[[Path], None]:
    """Return what adds a revision to a copy of the service."""
    number = f"{int(HEAD) + 1:04d}"
    lines = "".join(f"    op.execute({one!r})\n" for one in sql)
    revision = (
        f'from alembic import op\n\nrevision = "{number}"\ndown_revision = "{HEAD}"\n\n\n'
        f"def upgrade():\n{lines}\n\ndef downgrade():\n    pass\n"
    )

    def plant(folder: Path) -> None:
        versions = folder / "migrations"
        (versions / "versions" / f"{number}_planted.py").write_text(revision)
        head = versions / "__init__.py"
        head.write_text(re.sub(rf'"{HEAD}"', f'"{number}"', head.read_text()))

    return plant


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(
            (
                "ALTER TABLE jobs ADD COLUMN owner text NOT NULL DEFAULT ''",
                "ALTER TABLE jobs ALTER COLUMN owner DROP DEFAULT",
            ),
            id="a column that must be given",
        ),
        pytest.param(
            ("ALTER TABLE jobs RENAME COLUMN request_id TO asked_by",),
            id="a column renamed",
            marks=pytest.mark.full,
        ),
        pytest.param(
            ("ALTER TABLE jobs ADD COLUMN note text", "SELECT pg_sleep(5)"),
            id="a lock held for long",
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_revision_that_the_release_before_cannot_bear_is_noticed(
    site: Site, tmp_path: Path, sql: tuple[str, ...]
) -> None:
    broken = mutated_service(tmp_path / "broken", planted(*sql))
    apis = site.start(site.old, API, "api-1")
    with load_on(apis) as load:
        load.wait_for(CALLS_EACH)
        previous_release.migrate(ROOT, site.settings)
        load.wait_for(CALLS_EACH)
        assert load.outcome.failures == []
        previous_release.migrate(broken, site.settings)
        load.wait_for(CALLS_EACH)
    assert load.outcome.failures != []
