"""Keys, cancels, replays, the audit log and the purge, against the tables themselves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.errors import FencedError
from app.jobs.errors import JobCancelledError
from app.jobs.ids import new_job_id
from app.jobs.repository import ClaimedJob, JobRepository, NewJob, Progressed
from app.models import JobState
from tests.support.queue import audit, claim, execute, insert, row, stored


def cancel(database: Database, job_id: object, client_id: str = "default") -> object:
    with database.transaction() as connection:
        decided = JobRepository(connection).cancel(job_id, client_id)  # type: ignore[arg-type]
    return decided and (decided.state, decided.changed)


def only(database: Database) -> ClaimedJob:
    [job] = claim(database)
    return job


def test_a_key_stores_one_job_however_many_send_it_at_once(database: Database) -> None:
    def submit(_: int) -> bool:
        with database.transaction() as connection:
            return JobRepository(connection).insert(
                NewJob(new_job_id(), "file", "default", {}, 3, idempotency_key="k", fingerprint="f")
            )

    with ThreadPoolExecutor(5) as threads:
        assert sorted(threads.map(submit, range(20))) == [False] * 19 + [True]
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1
        repository = JobRepository(connection)
        key = ("default", "k")
        found = repository.find_by_keys([key, ("other", "k")])
        assert set(found) == {key}
        first = found[key]
        assert first.request_fingerprint == "f"
    assert audit(database, first.id) == ["submitted"]
    insert(database, "other", idempotency_key="k")


def test_statements_with_the_same_keys_in_another_order_do_not_wait_for_each_other(
    database: Database,
) -> None:
    def store(order: int) -> int:
        stored = 0
        for number in range(20):
            keys = [f"{number}-{which}" for which in range(50)]
            random.Random(order).shuffle(keys)  # noqa: S311  any order will do
            new = [
                NewJob(new_job_id(), "file", "default", {}, 3, idempotency_key=key, fingerprint="f")
                for key in keys
            ]
            with database.statement() as connection:
                stored += len(JobRepository(connection).insert_many(new))
        return stored

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(store, range(4))) == 20 * 50


def test_a_queued_job_is_cancelled_at_once(database: Database) -> None:
    job_id = insert(database)
    assert cancel(database, job_id, "other") is None
    assert cancel(database, job_id) == ("cancelled", True)
    assert cancel(database, job_id) == ("cancelled", False)
    assert claim(database) == []
    assert row(database, job_id).finished_at is not None
    assert audit(database, job_id) == ["submitted", "cancelled"]


def test_a_running_job_that_is_cancelled_can_only_end_as_that(database: Database) -> None:
    job_id = insert(database)
    job = only(database)
    assert cancel(database, job_id) == ("running", True)
    assert cancel(database, job_id) == ("running", False)
    with database.transaction() as connection:
        repository = JobRepository(connection)
        assert repository.watch([Progressed(job.id, job.epoch)]) == {job_id: True}
        assert repository.beat([(job.id, job.epoch)], lease_seconds=9) == {job_id: True}
    acts: list[Callable[[JobRepository], None]] = [
        lambda repository: repository.succeed(job, record_count=1),
        lambda repository: repository.give_up(job, JobState.DEAD, reason="x", message="x"),
        lambda repository: repository.retry(job, delay_seconds=0.0, reason="x", message="x"),
    ]
    for act in acts:
        with pytest.raises(JobCancelledError), database.transaction() as connection:
            act(JobRepository(connection))
    with database.transaction() as connection:
        JobRepository(connection).cancelled(job)
    assert row(database, job_id).state == "cancelled"
    assert stored(database, job_id) == []
    assert audit(database, job_id) == ["submitted", "claimed", "cancel_requested", "cancelled"]
    with pytest.raises(FencedError), database.transaction() as connection:
        JobRepository(connection).cancelled(job)


@pytest.mark.parametrize("way", ["rescue", "release"])
def test_a_job_to_be_cancelled_is_not_queued_again_when_its_worker_is_gone(
    database: Database, way: str
) -> None:
    job_id = insert(database)
    job = only(database)
    cancel(database, job_id)
    execute(database, "UPDATE jobs SET lease_until = now() - interval '1 s'")
    with database.statement() as connection:
        repository = JobRepository(connection)
        assert repository.rescue() if way == "rescue" else repository.release([job])
    assert row(database, job_id).state == "cancelled"
    assert audit(database, job_id)[-1] == "cancelled"


def test_a_dead_job_is_replayed_with_all_its_attempts(database: Database) -> None:
    job_id = insert(database, max_attempts=1)
    with database.transaction() as connection:
        assert JobRepository(connection).replay(job_id, "default") is not None
    job = only(database)
    with database.transaction() as connection:
        JobRepository(connection).give_up(job, JobState.DEAD, reason="x", message="x")
    with database.transaction() as connection:
        assert JobRepository(connection).replay(job_id, "other") is None
        decided = JobRepository(connection).replay(job_id, "default")
    assert decided is not None
    assert (decided.state, decided.changed) == ("queued", True)
    found = row(database, job_id)
    assert (found.attempt, found.error, found.finished_at, found.epoch) == (0, None, None, 1)
    again = only(database)
    assert (again.epoch, again.attempt) == (2, 1)
    with database.transaction() as connection:
        running = JobRepository(connection).replay(job_id, "default")
    assert running is not None
    assert not running.changed
    assert audit(database, job_id) == ["submitted", "claimed", "dead", "replayed", "claimed"]


def test_the_audit_tells_a_whole_life(database: Database) -> None:
    job_id = insert(database, max_attempts=2)
    with database.statement() as connection:
        JobRepository(connection).release([only(database)])
    with database.transaction() as connection:
        JobRepository(connection).retry(only(database), delay_seconds=0, reason="http_503", message="x")
    for _ in range(2):
        only(database)
        execute(database, "UPDATE jobs SET lease_until = now() - interval '1 s'")
        with database.statement() as connection:
            JobRepository(connection).rescue()
    assert audit(database, job_id) == [
        "submitted",
        "claimed",
        "released",
        "claimed",
        "retried",
        "claimed",
        "rescued",
        "claimed",
        "dead",
    ]
    with database.transaction() as connection:
        entries = JobRepository(connection).audit(job_id, after=4)
    assert [one.epoch for one in entries] == [2, 3, 3, 4, 4]
    assert entries[0].detail == {"reason": "http_503", "delay_seconds": 0}
    assert entries[-1].detail == {"reason": "lease_expired", "owner": "w"}
    assert {one.client_id for one in entries} == {"default"}


def test_progress_is_noted_without_touching_the_lease(database: Database) -> None:
    job_id = insert(database)
    job = only(database)
    before = row(database, job_id).lease_until
    with database.statement() as connection:
        JobRepository(connection).watch([Progressed(job.id, job.epoch, 3, 10)])
        JobRepository(connection).watch([Progressed(job.id, job.epoch)])
    found = row(database, job_id)
    assert (found.progress_done, found.progress_total, found.lease_until) == (3, 10, before)


def test_old_finished_jobs_are_deleted_with_all_that_belongs_to_them(database: Database) -> None:
    old, young, running, queued = (insert(database) for _ in range(4))
    execute(database, "UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE id = :id", id=young)
    execute(
        database,
        "UPDATE jobs SET state = 'dead', finished_at = now() - interval '3 days' WHERE id = :id",
        id=old,
    )
    execute(database, "INSERT INTO records VALUES (:id, 0, '{}')", id=old)
    only(database)
    with database.statement() as connection:
        repository = JobRepository(connection)
        assert repository.purge(age_seconds=2 * 86400, limit=10) == 1
        assert repository.purge(age_seconds=2 * 86400, limit=10) == 0
        assert repository.find(old) is None
        assert list(repository.audit(old, after=0)) == []
        assert all(repository.find(job_id) for job_id in (young, running, queued))


@pytest.mark.parametrize("way", ["rescue", "release"])
def test_a_job_that_comes_back_keeps_its_place_but_waits_only_since_then(
    database: Database, way: str
) -> None:
    job_id = insert(database)
    execute(database, "UPDATE jobs SET run_at = to_timestamp(1000), updated_at = to_timestamp(1000)")
    job = only(database)
    execute(database, "UPDATE jobs SET lease_until = now() - interval '1 s'")
    began = time.time()
    with database.statement() as connection:
        repository = JobRepository(connection)
        assert repository.rescue() if way == "rescue" else repository.release([job])
    with database.statement() as connection:
        [shelf] = JobRepository(connection).figures().shelves
    assert row(database, job_id).run_at.timestamp() == 1000
    assert shelf.waiting_since_unix >= began - 1  # two clocks: PostgreSQL's, and this process's


def test_figures_tell_clients_and_kinds_apart(database: Database) -> None:
    insert(database, "a")
    insert(database, "a", kind="api")
    insert(database, "b")
    execute(
        database,
        "UPDATE jobs SET run_at = to_timestamp(1000), updated_at = to_timestamp(900) WHERE client_id = 'b'",
    )
    insert(database, "c")
    execute(database, "UPDATE jobs SET state = 'dead', finished_at = now() WHERE client_id = 'c'")
    with database.statement() as connection:
        figures = JobRepository(connection).figures()
    assert (figures.queued, figures.waiting_since_unix, figures.dead) == (3, 1000.0, 1)
    assert {(one.client_id, one.source_type, one.queued) for one in figures.shelves} == {
        ("a", "file", 1),
        ("a", "api", 1),
        ("b", "file", 1),
    }
