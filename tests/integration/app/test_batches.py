"""Submissions that come together: stored in few statements, each answered for itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Row, text

from app.database.engine import Database
from app.errors import SubmissionUnknownError
from app.jobs.batches import AT_ONCE_MAX, BATCH_MAX
from app.jobs.ids import new_job_id
from app.jobs.intake import JobIntake
from app.jobs.repository import JobRepository, NewJob
from app.jobs.schemas import JobAccepted
from app.jobs.submission import Submission
from app.jobs.wakeups import Announcer
from tests.support.access import headers_of
from tests.support.callers import Caller, Reply
from tests.support.databases import open_database, settings_for, target
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import PathState, TcpForwarder

TRIGGER = "/api/v1/jobs/trigger"
JOB = {"source_type": "api", "config": {"endpoint": "evidence", "resource": "controls"}}
"""Nothing of it is checked in a thread: what makes them wait is the database alone."""

CALLERS = 60
SLOW_SECONDS = 0.25
"""Of each answer of the database: whoever comes meanwhile goes together."""


@pytest.fixture
def intake(database: Database, database_name: str, postgres: PostgresServer) -> Iterator[JobIntake]:
    with (
        closing(Announcer(settings_for(postgres.port, database_name))) as announcer,
        closing(open_database(target(postgres.port, database_name), deadline=3.0)) as ours,
    ):
        yield JobIntake(ours, announcer, max_attempts=3, queued_max=5)


def rows(database: Database, sql: str) -> Sequence[Row[Any]]:
    with database.transaction() as connection:
        return connection.execute(text(sql)).all()


def handed_in(client: str = "acme", key: str | None = None, **config: object) -> Submission:
    return Submission("file", {"path": "x", **config}, client, "r", idempotency_key=key)


async def all_at_once(api: ServiceProcess, callers: int, keys: list[str] | None = None) -> list[Reply]:
    async def one(number: int) -> Reply:
        with Caller(api.url, headers_of("acme")) as caller:
            headers = {
                "X-Request-Id": f"request-{number}",
                "traceparent": f"00-{number + 1:032x}-{7:016x}-01",
            }
            if keys is not None:
                headers["Idempotency-Key"] = keys[number]
            return await caller.post(TRIGGER, JOB, **headers)

    return await asyncio.gather(*(one(number) for number in range(callers)))


def test_who_comes_meanwhile_goes_together_and_each_gets_its_own_job(
    start: Start, path: TcpForwarder, postgres: PostgresServer, database: Database
) -> None:
    api = start("app.main", DCS_DATABASE_PORT=str(path.port))
    assert api.post(TRIGGER, json=JOB).status_code == 202  # a connection exists
    path.delay_seconds = SLOW_SECONDS
    began = time.monotonic()
    replies = asyncio.run(all_at_once(api, CALLERS))
    took = time.monotonic() - began
    path.delay_seconds = 0.0

    assert Counter(reply.status for reply in replies) == {202: CALLERS}
    statements = api.metric("dcs_jobs_stored_together_count") - 1
    assert api.metric("dcs_jobs_stored_together_sum") == CALLERS + 1
    assert CALLERS / BATCH_MAX <= statements < CALLERS / 5, f"{statements} statements took {took:.1f} s"
    by_request = {
        row.request_id: row for row in rows(database, "SELECT * FROM jobs WHERE request_id LIKE 'request-%'")
    }
    logged = {line["job_id"]: line for line in api.events("request_completed") if "job_id" in line}
    for number, reply in enumerate(replies):
        job_id, row = reply.json()["job_id"], by_request[f"request-{number}"]
        assert str(row.id) == job_id
        trace_id = f"{number + 1:032x}"
        assert row.trace_context.split("-")[1] == trace_id, "the worker continues the caller's trace"
        assert (logged[job_id]["request_id"], logged[job_id]["trace_id"]) == (f"request-{number}", trace_id)


def test_a_key_in_the_same_statement_twice_is_one_job(start: Start, path: TcpForwarder) -> None:
    api = start("app.main", DCS_DATABASE_PORT=str(path.port))
    path.delay_seconds = SLOW_SECONDS
    replies = asyncio.run(all_at_once(api, 40, keys=[f"key-{number % 4}" for number in range(40)]))
    assert Counter(reply.status for reply in replies) == {202: 40}
    replayed = Counter(reply.headers.get("idempotency-replayed", "") for reply in replies)
    assert replayed == {"": 4, "true": 36}
    for number in range(4):
        assert len({reply.json()["job_id"] for reply in replies[number::4]}) == 1
    assert api.metric("dcs_jobs_stored_together_count") < 20, "they were in few statements"


def test_beyond_their_places_submissions_wait_their_turn_or_are_told_so_at_once(
    start: Start, path: TcpForwarder
) -> None:
    api = start("app.main", DCS_DATABASE_PORT=str(path.port), DCS_DATABASE_WAITING_MAX="10")
    asyncio.run(all_at_once(api, 20))  # connections exist
    path.delay_seconds = 0.4
    places = AT_ONCE_MAX * BATCH_MAX
    replies = asyncio.run(all_at_once(api, places + 60))
    counted = Counter(reply.status for reply in replies)
    assert set(counted) == {202, 503}
    assert counted[503] >= 50
    refused = [reply for reply in replies if reply.status == 503]
    assert {reply.json()["type"] for reply in refused} == {"urn:dcs:problem:overloaded"}
    shed = sum(
        api.metric("dcs_requests_shed_total", pool="submissions", reason=reason)
        for reason in ("queue_full", "queue_slow", "waited_too_long")
    )
    assert shed == counted[503]
    for state in ("in_use", "waiting"):
        assert api.metric("dcs_slots", pool="submissions", state=state) == 0


def test_who_is_not_taken_in_time_is_told_so(start: Start, path: TcpForwarder) -> None:
    api = start("app.main", DCS_DATABASE_PORT=str(path.port), DCS_DATABASE_POOL_TIMEOUT_SECONDS="0.5",
                DCS_DATABASE_WAITING_MAX="50")  # fmt: skip
    asyncio.run(all_at_once(api, 20))  # connections exist
    path.set_state(PathState.BLACK_HOLE)

    async def come_later() -> list[Reply]:
        first = []
        for _ in range(AT_ONCE_MAX):  # a statement each, which hangs
            first.append(asyncio.create_task(all_at_once(api, 1)))
            await asyncio.sleep(0.05)
        began = time.monotonic()
        late = await all_at_once(api, 20)
        assert time.monotonic() - began < 0.5 + 0.4, "they wait as long as is allowed, not for what hangs"
        await asyncio.gather(*first)
        return late

    late = asyncio.run(come_later())
    assert {reply.json()["type"] for reply in late} == {"urn:dcs:problem:overloaded"}
    assert api.metric("dcs_requests_shed_total", pool="submissions", reason="waited_too_long") == 20


def test_one_that_the_database_does_not_take_costs_the_others_nothing(
    intake: JobIntake, database: Database
) -> None:
    bad = handed_in(note="no \0 in jsonb")
    assert intake.accept_together([handed_in(), bad, handed_in("umbrella")]) == [None] * 3
    assert rows(database, "SELECT id FROM jobs") == []
    assert intake.accept(handed_in()).status == "queued"


def test_a_key_that_somebody_holds_keeps_nobody_else(intake: JobIntake, database: Database) -> None:
    with database.transaction() as holding:
        JobRepository(holding).insert(
            NewJob(new_job_id(), "file", "acme", {}, 3, idempotency_key="held", fingerprint="f")
        )
        assert intake.accept_together([handed_in(), handed_in(key="held")]) == [None, None]
        assert intake.accept(handed_in()).status == "queued"


def test_who_is_over_its_limit_is_left_out_and_the_others_are_stored(
    intake: JobIntake, database: Database
) -> None:
    outcomes = intake.accept_together([handed_in() for _ in range(7)] + [handed_in("umbrella")])
    assert [isinstance(outcome, JobAccepted) for outcome in outcomes] == [True] * 5 + [False] * 2 + [True]
    assert outcomes[5:7] == [None, None]
    stored = {row.id for row in rows(database, "SELECT id FROM jobs")}
    assert stored == {outcome.job_id for outcome in outcomes if isinstance(outcome, JobAccepted)}


def test_when_no_answer_comes_each_is_told_its_own_job(
    path: TcpForwarder, database: Database, database_name: str, postgres: PostgresServer
) -> None:
    with (
        closing(Announcer(settings_for(postgres.port, database_name))) as announcer,
        closing(open_database(target(path.port, database_name))) as far,
    ):
        intake = JobIntake(far, announcer, max_attempts=3, queued_max=5)
        assert isinstance(intake.accept_together([handed_in()])[0], JobAccepted)
        path.lose_answer_to(b"INSERT INTO jobs")
        outcomes = intake.accept_together([handed_in(), handed_in("umbrella")])
    unknown = [outcome for outcome in outcomes if isinstance(outcome, SubmissionUnknownError)]
    assert len(unknown) == 2
    stored = {row.id for row in rows(database, "SELECT id FROM jobs")}
    assert {one.job_id for one in unknown} < stored, "they were stored, and can be asked for by these names"
