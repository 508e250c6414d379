"""From a put into the bucket to rows, over the store's own notifications: doubled, reordered, lost."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.access import key_of
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.programs import HTTP, Program, running
from tests.support.seaweed import BUCKET, SeaweedServer
from tests.support.service import ServiceProcess, Start
from tests.support.waiting import eventually

TODAY = dt.datetime.now(dt.UTC).date()
FILES = 6
ROWS = 20
ENDS_SECONDS_MAX = 40.0

Rows = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def port() -> int:
    """Where the relay will listen: the store is told before there is one."""
    return free_port()


@pytest.fixture(scope="module")
def s3(port: int) -> Iterator[SeaweedServer]:
    with closing(SeaweedServer(webhook=f"http://127.0.0.1:{port}/v1/webhook")) as server:
        server.start()
        server.empty()
        yield server


@pytest.fixture(scope="module")
def service_settings(service_settings: dict[str, str], s3: SeaweedServer) -> dict[str, str]:
    return service_settings | s3.settings()


@pytest.fixture
def relay(api: ServiceProcess, port: int, tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "key").write_text(key_of("default").text)
    arguments = ("--target", api.url, "--key-file", str(tmp_path / "key"), "--bucket", BUCKET)
    with running("chaos.upstreams.s3_events", *arguments, log=tmp_path / "log", port=port) as program:
        yield program


@pytest.fixture
def rows(postgres: PostgresServer, database_name: str) -> Rows:
    return lambda sql: list(postgres.rows(sql, database_name))


def test_events_that_come_twice_in_any_order_or_never_end_with_each_row_once(
    relay: Program, s3: SeaweedServer, rows: Rows, start: Start
) -> None:
    behaviour = f"{relay.url}/admin/behaviour"
    HTTP.put(behaviour, json={"lose_rate": 1.0}).raise_for_status()
    s3.put_csv(f"acme/{TODAY}/lost.csv", [f"L-{row},x" for row in range(ROWS)])
    eventually(
        lambda: relay.metric("lab_s3_event_mishaps_total", kind="lost") >= 1,
        within_seconds=10,
        what="its event is lost",
    )
    HTTP.put(behaviour, json={"duplicate_rate": 1.0, "reorder_rate": 0.5}).raise_for_status()
    for version in range(2):
        for number in range(FILES):
            body = [f"T-{number}-{row},{version}" for row in range(ROWS)]
            s3.put_csv(f"acme/{TODAY}/told.{number}.csv", body)
    s3.put(f"acme/{TODAY}/_SUCCESS", b"")
    told = (FILES * 2 + 1) * 2
    eventually(
        lambda: relay.metric("lab_s3_events_total", outcome="delivered") >= told,
        within_seconds=ENDS_SECONDS_MAX,
        what="all events are delivered, twice",
    )
    in_ledger = "SELECT key, count(*) FROM ingest_files GROUP BY key ORDER BY key"
    assert rows(in_ledger) == [(f"acme/{TODAY}/told.{number}.csv", 2) for number in range(FILES)]
    # A worker that starts makes up for the schedule's last time of day, and finds what was lost.
    start("app.worker", DCS_INSTANCE="w-1")
    eventually(
        lambda: rows("SELECT count(*) FROM ingested_rows") == [(ROWS * (FILES + 1),)],
        within_seconds=ENDS_SECONDS_MAX,
        what="every row is there, once",
    )
    eventually(
        lambda: rows("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')") == [(0,)],
        within_seconds=ENDS_SECONDS_MAX,
        what="every job has ended",
    )
    assert rows("SELECT DISTINCT content ->> 'name' FROM ingested_rows WHERE dataset = 'told'") == [("1",)]
    jobs = "SELECT count(*), count(DISTINCT config) FROM jobs WHERE source_type = 'ingest_file'"
    assert rows(jobs) == [(FILES * 2 + 1, FILES * 2 + 1)]
    assert rows("SELECT state, count(*) FROM ingest_files GROUP BY 1 ORDER BY 1") == [
        ("loaded", FILES + 1), ("superseded", FILES),
    ]  # fmt: skip


def test_the_store_keeps_taking_files_while_nobody_hears_of_them(s3: SeaweedServer) -> None:
    """Without a relay SeaweedFS gives its notifications up by itself, and puts do not wait for it."""
    versions = {s3.put(f"globex/{TODAY}/unheard.{number}.csv", f"id\n{number}\n") for number in range(20)}
    assert len(versions) == 20
