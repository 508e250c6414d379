"""Ingestion as it is run: an API, two workers, a store."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.access.principal import OPERATOR_SCOPES, Scope
from app.access.repository import KeySpec
from tests.support.access import admit, key_of
from tests.support.postgres import PostgresServer
from tests.support.seaweed import SeaweedServer, event
from tests.support.service import ServiceProcess, Start
from tests.support.waiting import eventually

TODAY = dt.datetime.now(dt.UTC).date()
DAY = TODAY - dt.timedelta(days=1)
LARGE_ROWS = 120_000
ENDS_SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def service_settings(service_settings: dict[str, str], s3: SeaweedServer) -> dict[str, str]:
    return service_settings | s3.settings() | {"DCS_WORKER_THREADS": "3"}


@pytest.fixture(autouse=True)
def _bucket_of_its_own(s3: SeaweedServer) -> None:
    s3.empty()


def rows(postgres: PostgresServer, database: str, sql: str) -> list[tuple[Any, ...]]:
    return list(postgres.rows(sql, database))


def test_a_day_told_of_by_schedule_event_and_hand_at_once_is_counted_once(
    api: ServiceProcess, start: Start, s3: SeaweedServer, postgres: PostgresServer, database_name: str
) -> None:
    files = {f"acme/{DAY}/once.{n}.csv": [f"{n}-{row},x" for row in range(500)] for n in range(4)}
    records = [event(key, s3.put_csv(key, body)) for key, body in files.items()]
    s3.put(f"acme/{DAY}/_SUCCESS", b"")
    records.append(event(f"acme/{DAY}/_SUCCESS", "d41d8cd98f00b204e9800998ecf8427e"))
    # A worker that starts makes up for the schedule's last time of day, so the three come together.
    workers = [start("app.worker", DCS_INSTANCE=f"w-{n}") for n in (1, 2)]
    calls = [
        ("", {"day": str(DAY)}),
        ("/events", {"Records": records}),
        ("/events", {"Records": records[::-1]}),
    ] * 4

    def call(what: tuple[str, Any]) -> bool:
        # An API that has more to do than it can says so at once; whoever has something to tell asks again.
        answer = api.post(f"/api/v1/populate{what[0]}", json=what[1], client="acme")
        assert answer.status_code in (202, 503), answer.text
        return answer.status_code == 202

    with ThreadPoolExecutor(len(calls)) as pool:
        list(
            pool.map(
                lambda what: eventually(
                    lambda: call(what), within_seconds=ENDS_SECONDS_MAX, what="it is accepted"
                ),
                calls,
            )
        )

    def complete() -> bool:
        days = api.get("/api/v1/populate/days", client="acme").json()["days"]
        ours = [day for day in days if day["day"] == str(DAY)]
        return bool(ours and ours[0]["complete"] and ours[0]["files"] == 4)

    eventually(complete, within_seconds=ENDS_SECONDS_MAX, what="the day is complete")
    eventually(
        lambda: (
            rows(postgres, database_name, "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")
            == [(0,)]
        ),
        within_seconds=ENDS_SECONDS_MAX,
        what="every listing has ended",
    )
    assert rows(postgres, database_name, "SELECT count(*) FROM ingested_rows WHERE dataset = 'once'") == [
        (2000,)
    ]
    assert rows(
        postgres,
        database_name,
        "SELECT count(*), count(DISTINCT job_id), sum(rows) FROM ingest_files WHERE dataset = 'once'",
    ) == [(4, 4, 2000)]
    jobs = "SELECT config ->> 'key', count(*) FROM jobs WHERE source_type = 'ingest_file' GROUP BY 1"
    assert {
        key: made for key, made in rows(postgres, database_name, jobs) if "/once." in key
    } == dict.fromkeys(files, 1)
    causes = "SELECT DISTINCT cause FROM ingest_runs ORDER BY 1"
    assert rows(postgres, database_name, causes) == [("event",), ("hand",), ("schedule",)]
    stored = sum(worker.metric("dcs_ingest_rows_total", outcome="stored") for worker in workers)
    assert stored == 2000
    begun = dt.datetime.combine(DAY, dt.time(), dt.UTC).timestamp()

    def told() -> bool:
        name = "dcs_ingest_newest_complete_day_timestamp_seconds"
        return all(worker.metric(name, client="acme") == begun for worker in workers)

    eventually(told, within_seconds=10, what="both workers know the newest complete day")
    assert workers[0].metric("dcs_ingest_days_missing", client="acme") == 0


def test_a_worker_killed_while_it_copies_leaves_nothing_half_done(
    api: ServiceProcess, start: Start, s3: SeaweedServer, postgres: PostgresServer, database_name: str
) -> None:
    key = f"acme/{TODAY - dt.timedelta(days=100)}/large.csv"
    s3.put_csv(key, (f"K-{n:07d},{'x' * 40}-{n}" for n in range(LARGE_ROWS)))
    first = start("app.worker", DCS_INSTANCE="first")
    api.post("/api/v1/populate", json={"object": {"key": key}}, client="acme")

    def copying() -> bool:
        sql = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'first' AND state = 'active'"
            " AND (query LIKE 'COPY%ingest_stage%' OR query LIKE '%INSERT INTO ingested_rows%')"
        )
        return rows(postgres, database_name, sql) != [(0,)]

    eventually(copying, within_seconds=ENDS_SECONDS_MAX, what="the file is being loaded")
    first.kill()
    assert rows(postgres, database_name, "SELECT count(*) FROM ingested_rows WHERE dataset = 'large'") == [
        (0,)
    ]
    start("app.worker", DCS_INSTANCE="second")

    def loaded() -> bool:
        sql = "SELECT state, rows FROM ingest_files WHERE dataset = 'large'"
        return rows(postgres, database_name, sql) == [("loaded", LARGE_ROWS)]

    eventually(loaded, within_seconds=ENDS_SECONDS_MAX, what="another worker has loaded it")
    assert rows(postgres, database_name, "SELECT count(*) FROM ingested_rows WHERE dataset = 'large'") == [
        (LARGE_ROWS,)
    ]


def test_a_client_sees_and_reaches_only_what_is_its_own(
    api: ServiceProcess, s3: SeaweedServer, postgres: PostgresServer, database_name: str
) -> None:
    own, foreign = f"acme/{DAY}/tenant.csv", f"globex/{DAY}/tenant.csv"
    versions = {key: s3.put_csv(key, ["1,x"]) for key in (own, foreign)}
    plain = key_of("plain acme")
    admit(
        postgres.port,
        database_name,
        "acme",
        plain,
        # All that a client's own people have: to mind one's keys is not to speak for others.
        KeySpec(frozenset(Scope) - OPERATOR_SCOPES, rate_limit_per_minute=1000, burst=1000),
    )
    headers = {"X-API-Key": plain.text}
    body = {"Records": [event(key, version) for key, version in versions.items()]}
    taken = api.post("/api/v1/populate/events", json=body, client=None, headers=headers).json()
    assert (taken["new"], taken["ignored"]) == (1, 1)
    [file] = [
        one
        for one in api.get("/api/v1/populate/files", client="acme").json()["files"]
        if one["key"].endswith("/tenant.csv")
    ]
    assert file["key"] == own
    path = f"/api/v1/populate/files/{file['file_id']}"
    assert api.get(path, client="acme").status_code == 200
    assert api.get(path, client="globex").status_code == 404
    assert api.post(f"{path}/replay", client="globex").status_code == 404
    run = api.post("/api/v1/populate", json={"prefix": "acme/"}, client="acme").json()["run_id"]
    assert api.get(f"/api/v1/populate/runs/{run}", client="acme").json()["cause"] == "hand"
    assert api.get(f"/api/v1/populate/runs/{run}", client="globex").status_code == 404
    for spec in ({"prefix": "globex/"}, {"prefix": "acme"}, {"object": {"key": foreign}}):
        assert api.post("/api/v1/populate", json=spec, client="acme").status_code == 422
    assert (
        api.post("/api/v1/populate/events", json={"Event": "s3:TestEvent"}, client="acme").json()["new"] == 0
    )
