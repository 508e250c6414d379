"""The promises of the queue, each against the tables themselves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.errors import FencedError
from app.jobs.repository import ClaimedJob, JobRepository, NewJob, Progressed, Succeeded, Wanted
from app.jobs.repository.upkeep import RECONCILE_LOCK
from app.models import JobState
from app.sources import encoded

LEASE_SECONDS = 60.0
KINDS = ("api", "database", "file")
ONE = Wanted(dict.fromkeys(KINDS), limit=1, idle=1)


def succeed(repository: JobRepository, job: ClaimedJob, records: list[dict[str, Any]]) -> None:
    repository.succeed(job, record_count=len(records))
    repository.store(job, encoded(records))


def insert(database: Database, *, max_attempts: int = 3) -> UUID:
    job_id = uuid4()
    with database.transaction() as connection:
        JobRepository(connection).insert(
            NewJob(job_id, "file", "default", {"path": "x.csv"}, max_attempts, request_id="r-1")
        )
    return job_id


def claim(database: Database, owner: str = "w") -> ClaimedJob | None:
    with database.transaction() as connection:
        taken, _ = JobRepository(connection).claim(owner=owner, lease_seconds=LEASE_SECONDS, wanted=ONE)
    return taken[0] if taken else None


def claimed(database: Database, owner: str = "w") -> ClaimedJob:
    job = claim(database, owner)
    assert job is not None
    return job


def row(database: Database, job_id: UUID) -> Any:
    with database.transaction() as connection:
        found = JobRepository(connection).find(job_id)
    assert found is not None
    return found


def execute(database: Database, sql: str) -> None:
    with database.transaction() as connection:
        connection.execute(text(sql))


def stored(database: Database, job_id: UUID) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return [content for _, content in JobRepository(connection).page(job_id, after=-1, limit=1000)]


def test_each_job_is_claimed_once_however_many_ask(database: Database) -> None:
    jobs = {insert(database) for _ in range(20)}
    with ThreadPoolExecutor(5) as threads:
        found = list(threads.map(lambda _: claim(database), range(30)))
    taken = [job.id for job in found if job is not None]
    assert len(taken) == 20
    assert set(taken) == jobs


def test_higher_priority_first_then_the_oldest(database: Database) -> None:
    first, second, urgent = insert(database), insert(database), insert(database)
    with database.transaction() as connection:
        connection.execute(text("UPDATE jobs SET priority = 5 WHERE id = :id"), {"id": urgent})
    assert [claimed(database).id for _ in range(3)] == [urgent, first, second]
    assert claim(database) is None


def test_a_job_that_is_not_due_waits(database: Database) -> None:
    insert(database)
    execute(database, "UPDATE jobs SET run_at = now() + interval '1 hour'")
    assert claim(database) is None


def test_success_stores_the_records_and_the_state_together(database: Database) -> None:
    job_id = insert(database)
    job = claimed(database)
    with database.transaction() as connection:
        succeed(JobRepository(connection), job, [{"n": 1}, {"n": 2}])
    found = row(database, job_id)
    assert (found.state, found.record_count) == ("succeeded", 2)
    assert (found.lease_until, found.lease_owner) == (None, None)
    assert stored(database, job_id) == [{"n": 1}, {"n": 2}]


def test_a_zombie_writes_nothing(database: Database) -> None:
    job_id = insert(database)
    zombie = claimed(database, "zombie")
    execute(database, "UPDATE jobs SET lease_until = now() - interval '1 s'")
    with database.transaction() as connection:
        assert [one.id for one in JobRepository(connection).rescue()] == [job_id]
    heir = claimed(database, "heir")
    assert heir.epoch == zombie.epoch + 1

    def finish(job: ClaimedJob, records: list[dict[str, Any]]) -> None:
        with database.transaction() as connection:
            succeed(JobRepository(connection), job, records)

    with pytest.raises(FencedError):
        finish(zombie, [{"from": "zombie"}, {"from": "zombie"}])
    assert stored(database, job_id) == []
    finish(heir, [{"from": "heir"}])
    with pytest.raises(FencedError):
        finish(zombie, [{"from": "zombie"}, {"from": "zombie"}])
    with pytest.raises(FencedError):
        finish(heir, [{"from": "heir, again"}])
    assert stored(database, job_id) == [{"from": "heir"}]


def test_every_other_end_is_fenced_too(database: Database) -> None:
    insert(database)
    job = claimed(database)
    execute(database, "UPDATE jobs SET epoch = epoch + 1")
    acts: list[Callable[[JobRepository], None]] = [
        lambda repository: repository.give_up(job, JobState.FAILED, reason="x", message="x"),
        lambda repository: repository.retry(job, delay_seconds=0.0, reason="x", message="x"),
        lambda repository: repository.cancelled(job),
    ]
    for act in acts:
        with pytest.raises(FencedError), database.transaction() as connection:
            act(JobRepository(connection))
    with database.transaction() as connection:
        repository = JobRepository(connection)
        assert repository.beat([(job.id, job.epoch)], lease_seconds=LEASE_SECONDS) == {}
        assert repository.watch([Progressed(job.id, job.epoch, 1, 2)]) == {}
        assert repository.release([job]) == set()
        assert repository.succeed_many([Succeeded(job, encoded([{"n": 1}]))]) == set()
    assert stored(database, job.id) == []


def test_a_heartbeat_renews_the_lease(database: Database) -> None:
    insert(database)
    job = claimed(database)
    execute(database, "UPDATE jobs SET lease_until = now() + interval '1 s'")
    with database.transaction() as connection:
        assert JobRepository(connection).beat([(job.id, job.epoch)], lease_seconds=LEASE_SECONDS) == {
            job.id: False
        }
        left = connection.execute(
            text("SELECT extract(epoch FROM lease_until - now()) FROM jobs")
        ).scalar_one()
    assert left == pytest.approx(LEASE_SECONDS, abs=2)


def test_a_living_lease_is_not_rescued(database: Database) -> None:
    insert(database)
    claimed(database)
    with database.transaction() as connection:
        assert JobRepository(connection).rescue() == []


def test_a_job_that_kills_its_workers_ends_up_dead(database: Database) -> None:
    job_id = insert(database, max_attempts=3)
    states = []
    for _ in range(3):
        claimed(database)
        execute(database, "UPDATE jobs SET lease_until = now() - interval '1 s'")
        with database.transaction() as connection:
            states += [one.state for one in JobRepository(connection).rescue()]
    assert states == ["queued", "queued", "dead"]
    found = row(database, job_id)
    assert found.error["reason"] == "lease_expired"
    assert found.finished_at is not None
    assert claim(database) is None


def test_a_released_job_has_lost_no_attempt(database: Database) -> None:
    job_id = insert(database)
    job = claimed(database)
    with database.transaction() as connection:
        assert JobRepository(connection).release([job]) == {job.id}
    assert (row(database, job_id).state, row(database, job_id).attempt) == ("queued", 0)
    assert claimed(database).epoch == job.epoch + 1


def test_a_retry_waits_its_delay(database: Database) -> None:
    job_id = insert(database)
    job = claimed(database)
    with database.transaction() as connection:
        JobRepository(connection).retry(job, delay_seconds=30, reason="http_503", message="busy\0")
    found = row(database, job_id)
    assert (found.state, found.attempt, found.error) == (
        "queued",
        1,
        {"reason": "http_503", "message": "busy"},
    )
    assert (found.run_at - found.updated_at).total_seconds() == pytest.approx(30)
    assert claim(database) is None


def test_what_was_not_even_tried_spends_no_attempt(database: Database) -> None:
    job_id = insert(database)
    for _ in range(3):
        job = claimed(database)
        assert job.attempt == 1
        with database.transaction() as connection:
            JobRepository(connection).retry(
                job, delay_seconds=0, reason="circuit_open", message="", attempted=False
            )
    assert row(database, job_id).attempt == 0


def test_figures_count_what_is_due(database: Database) -> None:
    with database.transaction() as connection:
        assert JobRepository(connection).figures().waiting_since_unix == 0
    for _ in range(3):
        insert(database)
    execute(
        database,
        "UPDATE jobs SET run_at = to_timestamp(1000), updated_at = to_timestamp(1000) "
        "WHERE id = (SELECT min(id::text)::uuid FROM jobs)",
    )
    claimed(database)  # the one of 1970
    with database.transaction() as connection:
        figures = JobRepository(connection).figures()
    assert figures.queued == 2
    assert figures.waiting_since_unix > 1_000_000


def test_one_transaction_rescues_at_a_time(database: Database) -> None:
    job_id = insert(database)
    claimed(database)
    execute(database, "UPDATE jobs SET lease_until = now() - interval '1 s'")
    with database.transaction() as one:
        one.execute(text(f"SELECT pg_advisory_xact_lock({RECONCILE_LOCK})"))
        with database.statement() as other:
            assert JobRepository(other).rescue() == []
    with database.statement() as later:
        assert [rescued.id for rescued in JobRepository(later).rescue()] == [job_id]


def test_a_kind_that_is_not_asked_for_is_left_to_others(database: Database) -> None:
    job_id = insert(database)
    with database.transaction() as connection:
        repository = JobRepository(connection)
        wanted = Wanted({"avatar": 1}, limit=1, idle=1)
        assert repository.claim(owner="w", lease_seconds=LEASE_SECONDS, wanted=wanted) == ([], False)
    assert claimed(database).id == job_id
