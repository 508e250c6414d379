"""A collection that runs says how far it is, and ends soon when nobody wants it any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import FencedError
from app.jobs.errors import JobCancelledError
from app.net.guard import Guard
from app.settings import Settings
from app.sources.api import ApiConfig, ApiLimits, ApiSource, Endpoint
from app.sources.catalogue import catalogue
from app.sources.database import DatabaseConfig, DatabaseSource
from app.sources.file import FileConfig, FileSource
from app.sources.s3 import S3Config
from tests.support.databases import target
from tests.support.postgres import PostgresServer
from tests.support.seaweed import SeaweedServer
from tests.support.service import ServiceProcess
from tests.support.upstream import TOTAL, Mood, Upstream
from tests.support.waiting import eventually

JOBS = "/api/v1/jobs"
CONTROLS = ApiConfig(endpoint="evidence", resource="controls", page_size=10)
OPEN_FINDINGS = DatabaseConfig(database="acme", query="open_findings")


class Watched:
    """Notes what is reported. ``unwanted_from``: the report after which the work is in vain."""

    def __init__(self, unwanted_from: int | None = None, error: type[FencedError] = FencedError) -> None:
        self.reports: list[tuple[int, int | None]] = []
        self._unwanted_from = unwanted_from
        self._error = error

    def report(self, done: int, total: int | None = None) -> None:
        self.reports.append((done, total))

    def check(self) -> None:
        if self._unwanted_from is not None and len(self.reports) >= self._unwanted_from:
            raise self._error


Collect = Callable[[Watched], Any]


def of_api(upstream: Upstream) -> Collect:
    source = ApiSource({"evidence": Endpoint(upstream.url)}, Guard([upstream.url]), ApiLimits(5, 60, 10**6))
    return lambda watched: source.collect(CONTROLS, progress=watched)


def of_database(postgres: PostgresServer) -> Collect:
    source = DatabaseSource(
        {"acme": target(postgres.port, "acme", "reader")},
        guard=Guard([f"postgresql://127.0.0.1:{postgres.port}"]),
        application_name="test",
        connect_timeout_seconds=2,
        query_deadline_seconds=5,
    )
    return lambda watched: source.collect(OPEN_FINDINGS, progress=watched)


def of_file(folder: Path) -> Collect:
    (folder / "large.jsonl").write_text('{"text": "' + "x" * 1000 + '"}\n' + "\n" * 3_000_000)
    return lambda watched: FileSource(folder).collect(FileConfig(path="large.jsonl"), progress=watched)


def of_store(settings: Settings, s3: SeaweedServer, day: str) -> Collect:
    for name in ("a", "b", "c"):
        s3.put(f"acme/{day}/{name}.csv", f"id\n{name}\n")
    source = catalogue(settings).s3
    return lambda watched: source.collect(S3Config(prefix=f"{day}/"), client_id="acme", progress=watched)


@pytest.fixture(params=["api", "database", "file", "s3"])
def collect(request: pytest.FixtureRequest, tmp_path: Path) -> Collect:
    def found(name: str) -> Any:
        return request.getfixturevalue(name)

    match request.param:
        case "api":
            return of_api(found("upstream"))
        case "database":
            return of_database(found("postgres"))
        case "file":
            return of_file(tmp_path)
    return of_store(found("ingest_settings"), found("s3"), found("day"))


def test_a_collection_reports_more_and_more_until_it_has_all(collect: Collect) -> None:
    watched = Watched()
    collect(watched)
    done = [report[0] for report in watched.reports]
    assert len(done) >= 2
    assert done == sorted(set(done))
    assert {report[1] for report in watched.reports} in ({None}, {done[-1]})


@pytest.mark.parametrize("error", [FencedError, JobCancelledError])
def test_a_collection_that_nobody_wants_ends_between_two_reports(
    collect: Collect, error: type[FencedError]
) -> None:
    watched = Watched(1, error)
    with pytest.raises(error):
        collect(watched)
    assert len(watched.reports) == 1
    with pytest.raises(error):
        collect(watched)
    assert len(watched.reports) == 1


def test_what_is_reported_is_what_is_left_of_the_whole(upstream: Upstream, postgres: PostgresServer) -> None:
    watched = Watched()
    of_api(upstream)(watched)
    assert watched.reports == [(10, TOTAL), (20, TOTAL), (TOTAL, TOTAL)]
    watched = Watched()
    of_database(postgres)(watched)
    assert watched.reports == [(10, None), (30, None)]


def test_a_running_job_shows_its_progress_and_is_cancelled_in_the_middle_of_a_page(
    api: ServiceProcess, worker: ServiceProcess, upstream: Upstream
) -> None:
    upstream.mood = Mood.DRIP
    try:
        config = {"endpoint": "evidence", "resource": "controls", "page_size": 10}
        job_id = api.trigger("api", config).json()["job_id"]
        status = f"{JOBS}/status/{job_id}"
        eventually(
            lambda: api.get(status).json()["status"] == "running", within_seconds=15, what="the job runs"
        )
        asked_at = time.monotonic()
        assert api.post(f"{JOBS}/{job_id}/cancel").status_code == 202
        eventually(
            lambda: api.get(status).json()["status"] == "cancelled",
            within_seconds=40,
            what="the job is cancelled",
        )
        assert time.monotonic() - asked_at < 30  # the page would drip for a minute
    finally:
        upstream.mood = Mood.GOOD
    [called] = [line for line in worker.events("source_call_completed") if line["job_id"] == job_id]
    assert (called["outcome"], called["reason"], called["level"]) == ("stopped", "not_wanted", "info")
    assert worker.metric("dcs_source_requests_total", source_type="api", outcome="stopped") == 1
    job_id = api.trigger("api", config).json()["job_id"]
    eventually(
        lambda: api.get(f"{JOBS}/status/{job_id}").json()["status"] == "succeeded",
        within_seconds=20,
        what="the next job is done",
    )
