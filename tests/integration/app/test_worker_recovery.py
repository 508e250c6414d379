"""Workers that die, hang, are stopped, or lose Redis: no job is lost and none counts twice."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from typing import Any

import pytest

from tests.support import avatars
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import PathState, TcpForwarder
from tests.support.upstream import TOTAL, Upstream
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

API = {"endpoint": "evidence", "resource": "controls", "page_size": 50}
FILE = {"path": "acme/assets.csv"}


@pytest.fixture(autouse=True)
def _nothing_left_over(postgres: PostgresServer, database_name: str) -> None:
    postgres.execute("TRUNCATE jobs CASCADE", database_name)


def status(api: ServiceProcess, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.get(f"/api/v1/jobs/status/{job_id}").raise_for_status().json()
    return answer


def succeeded(api: ServiceProcess, job_id: str, within_seconds: float = 20) -> dict[str, Any]:
    def done() -> dict[str, Any] | None:
        found = status(api, job_id)
        return found if found["status"] == "succeeded" else None

    return eventually(done, within_seconds=within_seconds, what=f"job {job_id} succeeded")


def job_row(postgres: PostgresServer, database_name: str) -> tuple[object, ...]:
    [found] = postgres.rows("SELECT state, attempt, epoch, rescues, lease_owner FROM jobs", database_name)
    return found


def trace_of(api: ServiceProcess, job_id: str) -> object:
    """Return the trace in which the job was submitted."""
    [event] = [line for line in api.events("request_completed") if line.get("job_id") == job_id]
    return event["trace_id"]


def records(postgres: PostgresServer, database_name: str) -> object:
    return postgres.rows("SELECT count(*) FROM records", database_name)[0][0]


def held_by(
    start: Start, api: ServiceProcess, upstream: Upstream, instance: str
) -> tuple[ServiceProcess, str]:
    """Return a worker in the middle of a job, and the job's id."""
    upstream.hold()
    worker = start(
        "app.worker", DCS_INSTANCE=instance, DCS_WORKER_THREADS="1", DCS_DRAIN_TIMEOUT_SECONDS="0.5"
    )
    job_id = api.trigger("api", API).json()["job_id"]
    assert upstream.asked.wait(10)
    return worker, job_id


def test_the_job_of_a_killed_worker_runs_again_and_its_records_count_once(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer, database_name: str
) -> None:
    victim, job_id = held_by(start, api, upstream, "victim")
    victim.kill()
    upstream.release()
    heir = start("app.worker", DCS_INSTANCE="heir")
    succeeded(api, job_id)
    assert job_row(postgres, database_name) == ("succeeded", 2, 2, 1, None)
    assert records(postgres, database_name) == TOTAL
    assert heir.metric("dcs_worker_rescues_total") == 1
    [event] = heir.events("job_rescued")
    assert (event["job_id"], event["lease_owner"]) == (job_id, "victim")
    assert event["trace_id"] == trace_of(api, job_id)


def test_a_worker_that_wakes_up_too_late_writes_nothing(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer, database_name: str
) -> None:
    zombie, job_id = held_by(start, api, upstream, "zombie")
    zombie.process.send_signal(signal.SIGSTOP)
    # Stopped with an answer in hand it would hold the job's row in an open transaction.
    stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    eventually(
        lambda: os.waitid(os.P_PID, zombie.process.pid, stopped) is not None,
        within_seconds=10,
        what="all threads of the zombie have stopped",
    )
    upstream.release()
    start("app.worker", DCS_INSTANCE="heir")
    # Nowhere could it have stopped with a transaction open that holds the rescue up.
    succeeded(api, job_id, within_seconds=20)
    zombie.process.send_signal(signal.SIGCONT)
    eventually(lambda: zombie.events("job_fenced"), within_seconds=15, what="the zombie is fenced")
    assert zombie.events("job_succeeded") == []
    assert zombie.metric("dcs_jobs_finished_total", source_type="api", outcome="succeeded") == 0
    assert job_row(postgres, database_name)[:3] == ("succeeded", 2, 2)
    assert records(postgres, database_name) == TOTAL


@pytest.mark.full
def test_a_long_job_keeps_its_lease(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer, database_name: str
) -> None:
    worker, job_id = held_by(start, api, upstream, "patient")
    beats = "SELECT extract(epoch FROM lease_until) FROM jobs"
    first = postgres.rows(beats, database_name)[0][0]
    # Two leases long: without heartbeats the job would have been taken back.
    eventually(
        lambda: float(str(postgres.rows(beats, database_name)[0][0])) > float(str(first)) + 8,
        within_seconds=20,
        what="two leases have passed",
    )
    assert job_row(postgres, database_name)[:4] == ("running", 1, 1, 0)
    upstream.release()
    assert succeeded(api, job_id)["attempt"] == 1
    assert worker.metric("dcs_worker_rescues_total") == 0


def test_a_stopped_worker_gives_its_job_back_at_once(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer, database_name: str
) -> None:
    worker, job_id = held_by(start, api, upstream, "leaving")
    assert worker.terminate() == 0
    [event] = worker.events("job_released")
    assert (event["job_id"], event["trace_id"]) == (job_id, trace_of(api, job_id))
    assert job_row(postgres, database_name) == ("queued", 0, 1, 0, None)
    upstream.release()


def test_a_stopped_worker_finishes_what_is_nearly_done(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer, database_name: str
) -> None:
    upstream.hold()
    worker = start("app.worker")
    job_id = api.trigger("api", API).json()["job_id"]
    assert upstream.asked.wait(10)
    worker.process.send_signal(signal.SIGTERM)
    eventually(lambda: worker.events("service_stopping"), within_seconds=10, what="it is stopping")
    upstream.release()
    assert worker.process.wait(15) == 0
    assert status(api, job_id)["status"] == "succeeded"


def test_jobs_run_while_redis_is_gone_and_wake_ups_work_again_after(
    start: Start, postgres: PostgresServer
) -> None:
    with closing(ValkeyServer()) as valkey:
        valkey.start()
        api = start("app.main", DCS_REDIS_URL=valkey.url)
        worker = start("app.worker", DCS_REDIS_URL=valkey.url, DCS_POLL_INTERVAL_SECONDS="0.5")
        succeeded(api, api.trigger("file", FILE).json()["job_id"])
        valkey.stop()
        for _ in range(3):
            accepted = api.trigger("file", FILE)
            assert accepted.status_code == 202
            succeeded(api, accepted.json()["job_id"], within_seconds=5)
        assert worker.events("redis_unavailable")
        assert worker.metric("dcs_redis_errors_total", reason="refused") > 0
        valkey.start()
        eventually(
            lambda: worker.metric("dcs_dependency_up", dependency="redis") == 1,
            within_seconds=10,
            what="Redis is seen again",
        )
        succeeded(api, api.trigger("file", FILE).json()["job_id"])


def test_a_wake_up_is_faster_than_the_poll(start: Start) -> None:
    api = start("app.main")
    start("app.worker", DCS_POLL_INTERVAL_SECONDS="30", DCS_RECONCILE_INTERVAL_SECONDS="30")
    succeeded(api, api.trigger("file", FILE).json()["job_id"], within_seconds=10)


def test_the_next_of_a_kind_that_runs_one_at_a_time_does_not_wait_for_the_poll(start: Start) -> None:
    api = start("app.main")
    start("app.worker", DCS_POLL_INTERVAL_SECONDS="30", DCS_RECONCILE_INTERVAL_SECONDS="30")
    accepted = [avatars.post(api, json={"prompt": f"fox number {number}"}) for number in range(5)]
    started = time.monotonic()
    for answer in accepted:
        assert avatars.ended(api, answer.json()["job_id"])["status"] == "ready"
    assert time.monotonic() - started < 15


def test_a_job_outlives_a_database_that_goes_away_in_the_middle(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer, database_name: str
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        upstream.hold()
        worker = start("app.worker", DCS_DATABASE_PORT=str(path.port), DCS_LEASE_SECONDS="20")
        job_id = api.trigger("api", API).json()["job_id"]
        assert upstream.asked.wait(10)
        path.set_state(PathState.REFUSE)
        upstream.release()
        eventually(
            lambda: worker.events("db_connect_failed"), within_seconds=10, what="the database is missed"
        )
        assert status(api, job_id)["status"] == "running"
        path.set_state(PathState.PASS)
        # The work is kept and finished by the same attempt, not run again after the lease.
        assert succeeded(api, job_id)["attempt"] == 1
        assert records(postgres, database_name) == TOTAL
        assert worker.process.poll() is None


def test_the_queue_is_published_and_kept_while_the_database_is_away(
    start: Start, api: ServiceProcess, upstream: Upstream, postgres: PostgresServer
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        upstream.hold()
        worker = start("app.worker", DCS_DATABASE_PORT=str(path.port), DCS_WORKER_THREADS="1")
        for _ in range(3):
            api.trigger("api", API)
        assert upstream.asked.wait(10)
        eventually(lambda: worker.metric("dcs_jobs_queued") == 2, within_seconds=10, what="two jobs wait")
        oldest = worker.metric("dcs_jobs_oldest_queued_timestamp_seconds")
        assert oldest > 1_700_000_000
        path.set_state(PathState.REFUSE)
        eventually(
            lambda: worker.metric("dcs_dependency_up", dependency="postgres") == 0,
            within_seconds=10,
            what="the database is away",
        )
        assert worker.metric("dcs_jobs_queued") == 2
        assert worker.metric("dcs_jobs_oldest_queued_timestamp_seconds") == oldest
        path.set_state(PathState.PASS)
        upstream.release()
        eventually(
            lambda: worker.metric("dcs_jobs_queued") == 0, within_seconds=15, what="the queue is empty"
        )
        assert worker.metric("dcs_jobs_oldest_queued_timestamp_seconds") == 0


def test_a_worker_outlives_a_database_that_refuses_its_queries(start: Start) -> None:
    worker = start("app.worker", DCS_DATABASE_USER="reader", DCS_POLL_INTERVAL_SECONDS="0.2")
    # One of the probe, one of the reconciler, and more of those who claim.
    eventually(lambda: len(worker.events("db_query_failed")) > 20, within_seconds=15, what="refused queries")
    assert worker.process.poll() is None
    assert worker.events("worker_thread_died") == []


def test_a_claim_whose_answer_was_lost_is_made_again_at_once(
    start: Start, api: ServiceProcess, postgres: PostgresServer, database_name: str
) -> None:
    job_id = api.trigger("file", FILE).json()["job_id"]
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        path.lose_answer_to(b"WITH RECURSIVE shelves")
        worker = start("app.worker", DCS_DATABASE_PORT=str(path.port), DCS_LEASE_SECONDS="60")
        succeeded(api, job_id)  # long before the lease is over
        assert job_row(postgres, database_name)[:4] == ("succeeded", 1, 2, 0)
        assert [line["job_id"] for line in worker.events("job_released")] == [job_id]


def test_a_commit_whose_answer_was_lost_is_a_success(
    start: Start, api: ServiceProcess, postgres: PostgresServer, database_name: str
) -> None:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        worker = start("app.worker", DCS_DATABASE_PORT=str(path.port))
        path.lose_answer_to(b"INSERT INTO records")
        job_id = api.trigger("file", FILE).json()["job_id"]
        succeeded(api, job_id)
        eventually(
            lambda: worker.metric("dcs_worker_jobs_running") == 0,
            within_seconds=10,
            what="the worker is done",
        )
        assert [line["reason"] for line in worker.events("db_query_failed")] == ["connection_lost"]
        assert [line["job_id"] for line in worker.events("job_succeeded")] == [job_id]
        assert worker.events("job_fenced") == []
        assert worker.metric("dcs_jobs_finished_total", source_type="file", outcome="succeeded") == 1
        assert job_row(postgres, database_name)[:3] == ("succeeded", 1, 1)
