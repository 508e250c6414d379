"""Who gets the next job: priorities, fair shares, caps, bulkheads, batches."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID

import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.errors import DatabaseUnavailableError
from app.jobs.leases import Held, Leases, bulkheads_max
from app.jobs.repository import ClaimedJob, JobRepository, Succeeded, Wanted
from app.sources import encoded
from tests.support.databases import open_database, target
from tests.support.postgres import PostgresServer
from tests.support.queue import KINDS, audit, claim, execute, insert, insert_many, row, stored
from tests.support.tcp import TcpForwarder

CLAIM_SECONDS_MAX = 0.25
"""With 100 000 queued; measured 6 ms on an idle machine of 2 cores."""


@pytest.fixture
def database(postgres: PostgresServer, database_name: str) -> Iterator[Database]:
    """A pool with time enough to store many jobs at once, which no statement of the service does."""
    postgres.execute("TRUNCATE jobs CASCADE", database_name)
    with closing(open_database(target(postgres.port, database_name), deadline=30)) as database:
        yield database


def clients(jobs: list[ClaimedJob]) -> list[str]:
    return [job.client_id for job in jobs]


def test_no_client_starves_another(database: Database) -> None:
    insert_many(database, "greedy", 10_000)
    insert_many(database, "modest", 5)
    # Greedy was first and has 2000 times as many; modest's five are all among the next ten.
    assert Counter(clients(claim(database, 10))) == {"greedy": 5, "modest": 5}
    assert clients(claim(database, 4)) == ["greedy"] * 4


def test_what_a_client_has_running_counts_against_its_share(database: Database) -> None:
    insert_many(database, "busy", 20)
    assert len(claim(database, 6)) == 6
    insert_many(database, "new", 20)
    assert Counter(clients(claim(database, 8))) == {"new": 7, "busy": 1}


def test_one_by_one_is_as_fair_as_by_the_batch(database: Database) -> None:
    for client in ("a", "b", "c"):
        insert_many(database, client, 50)
    assert Counter(client for _ in range(9) for client in clients(claim(database))) == {
        "a": 3,
        "b": 3,
        "c": 3,
    }


def test_priority_comes_before_fairness_until_the_others_have_waited(database: Database) -> None:
    insert_many(database, "urgent", 30, priority=9)
    insert_many(database, "patient", 3)
    assert clients(claim(database, 6)) == ["urgent"] * 6
    # One step of priority every 30 s: after 270 s nothing has a higher one.
    execute(database, "UPDATE jobs SET run_at = now() - interval '280 s' WHERE client_id = 'patient'")
    assert Counter(clients(claim(database, 6))) == {"patient": 3, "urgent": 3}


def test_many_that_are_not_due_hide_none_that_is(database: Database) -> None:
    insert_many(database, "default", 2000, priority=5)
    execute(database, "UPDATE jobs SET run_at = now() + interval '1 h'")
    job_id = insert(database)
    assert [job.id for job in claim(database, 8)] == [job_id]


def test_a_full_bulkhead_hides_no_other_kind(database: Database) -> None:
    insert_many(database, "default", 2000, kind="api", priority=9)
    insert_many(database, "default", 4, kind="file")
    kinds = [job.source_type for job in claim(database, 8, rooms={"api": 2, "file": None})]
    assert Counter(kinds) == {"api": 2, "file": 4}
    assert claim(database, 8, rooms={"file": None}) == []


@pytest.mark.parametrize(
    ("bulkheads", "taken"),
    [
        (0, {"file": 4}),
        (1, {"avatar": 1, "file": 4}),
        (2, {"avatar": 1, "ingest_file": 1, "file": 4}),
        (3, {"avatar": 1, "ingest_file": 2, "file": 4}),
        (None, {"avatar": 1, "ingest_file": 2, "file": 4}),
    ],
)
def test_bulkheads_have_one_room_together(
    database: Database, bulkheads: int | None, taken: dict[str, int]
) -> None:
    insert_many(database, "default", 50, kind="avatar", priority=9)
    insert_many(database, "default", 50, kind="ingest_file", priority=8)
    insert_many(database, "default", 4, kind="file")
    rooms = {"avatar": 1, "ingest_file": 2, "file": None}
    kinds = [job.source_type for job in claim(database, 8, rooms=rooms, bulkheads=bulkheads)]
    assert Counter(kinds) == taken


def test_a_worker_keeps_a_thread_free_of_bulkheads(database: Database) -> None:
    for kind in ("avatar", "ingest_file", "file"):
        insert_many(database, "default", 2, kind=kind)
    limits = {"avatar": 1, "ingest_file": 1, "file": None}
    leases = Leases(database, owner="w", lease_seconds=60, limits=limits, bulkheads_max=bulkheads_max(2))

    def claimed(limit: int) -> list[Held]:
        return leases.claim(limit=limit, idle=limit)[0]

    first, second = claimed(1), claimed(1)
    assert [held.job.source_type for held in (*first, *second)] == ["avatar", "file"]
    leases.drop(second)
    assert [held.job.source_type for held in claimed(2)] == ["file"]
    leases.drop(first)
    assert [held.job.source_type for held in claimed(2)] == ["avatar"]


def test_a_claim_whose_answer_was_lost_costs_no_attempt(
    database: Database, postgres: PostgresServer, database_name: str
) -> None:
    of_a_predecessor, held = insert(database), insert(database)
    assert [job.id for job in claim(database, owner="w", lease_seconds=30)] == [of_a_predecessor]
    with (
        TcpForwarder(("127.0.0.1", postgres.port)) as path,
        closing(open_database(target(path.port, database_name))) as shaky,
    ):
        leases = Leases(shaky, owner="w", lease_seconds=60, limits={"file": None})
        [first], _ = leases.claim(limit=1, idle=1)
        assert first.job.id == held
        unheard = insert(database, max_attempts=1)
        path.lose_answer_to(b"WITH RECURSIVE shelves")
        with pytest.raises(DatabaseUnavailableError) as lost:
            leases.claim(limit=1, idle=1)
        assert lost.value.outcome_unknown
        assert row(database, unheard).state == "running"
        leases.give_back_unheard()
        assert (row(database, unheard).state, row(database, unheard).attempt) == ("queued", 0)
        assert audit(database, unheard) == ["submitted", "claimed", "released"]
        # What it holds, and what another process of its name held before, is as it was.
        assert [row(database, job_id).state for job_id in (held, of_a_predecessor)] == ["running"] * 2
        [again], _ = leases.claim(limit=1, idle=1)
        assert (again.job.id, again.job.attempt) == (unheard, 1)
        leases.give_back_unheard()
        assert row(database, unheard).state == "running"


def test_a_claim_that_was_refused_gives_nothing_back(database: Database) -> None:
    leases = Leases(database, owner="w", lease_seconds=60, limits={"file": None})
    job_id = insert(database)
    assert [job.id for job in claim(database, owner="w", lease_seconds=60)] == [job_id]
    leases.give_back_unheard()
    assert row(database, job_id).state == "running"


@pytest.mark.parametrize(("threads", "bulkheads"), [(1, 1), (2, 1), (3, 2), (16, 15)])
def test_a_worker_with_one_thread_runs_anything(threads: int, bulkheads: int) -> None:
    assert bulkheads_max(threads) == bulkheads


def test_a_client_never_runs_more_than_its_cap(database: Database) -> None:
    insert_many(database, "capped", 100)
    with ThreadPoolExecutor(5) as threads:
        taken = list(threads.map(lambda _: claim(database, 4, client_running_max=6), range(10)))
    assert sum(len(jobs) for jobs in taken) == 6
    insert_many(database, "other", 3)
    assert clients(claim(database, 8, client_running_max=6)) == ["other"] * 3


def test_jobs_that_others_are_taking_are_passed_over_and_not_waited_for(database: Database) -> None:
    insert_many(database, "default", 40)
    with database.transaction() as slow:
        first, _ = JobRepository(slow).claim(
            owner="slow", lease_seconds=60, wanted=Wanted(dict.fromkeys(KINDS), 30, 30)
        )
        second = claim(database, 30)
        assert (len(first), len(second)) == (30, 10)
        with database.transaction() as late:
            nothing = JobRepository(late).claim(
                owner="late", lease_seconds=60, wanted=Wanted(dict.fromkeys(KINDS), 30, 30)
            )
        # It sees the thirty as queued still, so it is told to ask again.
        assert nothing == ([], True)
    assert {job.id for job in first}.isdisjoint(job.id for job in second)


def test_every_job_is_claimed_once_by_many_that_claim_batches(database: Database) -> None:
    insert_many(database, "default", 500)
    taken: list[UUID] = []
    lock = threading.Lock()

    def take() -> None:
        misses = 0
        while misses < 20:
            jobs = claim(database, 16)
            misses = 0 if jobs else misses + 1
            with lock:
                taken.extend(job.id for job in jobs)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) == len(set(taken)) == 500


def test_what_may_kill_a_worker_or_has_one_attempt_is_not_held_in_store(database: Database) -> None:
    once, killer, plain = insert(database, max_attempts=1), insert(database), insert(database)
    execute(database, "UPDATE jobs SET rescues = 1 WHERE id = :id", id=killer)
    assert [job.id for job in claim(database, 8, idle=0)] == [plain]
    assert [job.id for job in claim(database, 8, idle=1)] == [once]
    assert [job.id for job in claim(database, 8, idle=1)] == [killer]


def test_jobs_end_together_each_behind_its_own_fence(database: Database) -> None:
    for _ in range(4):
        insert(database)
    mine, lost, cancelled, also_mine = claim(database, 4)
    execute(database, "UPDATE jobs SET epoch = epoch + 1 WHERE id = :id", id=lost.id)
    with database.transaction() as connection:
        JobRepository(connection).cancel(cancelled.id, "default")
    with database.statement() as connection:
        ended = JobRepository(connection).succeed_many(
            [Succeeded(job, encoded([{"of": str(job.id)}])) for job in (mine, lost, cancelled, also_mine)]
        )
    assert ended == {mine.id, also_mine.id}
    for job in (mine, also_mine):
        assert stored(database, job.id) == [{"of": str(job.id)}]
        assert audit(database, job.id) == ["submitted", "claimed", "succeeded"]
        assert row(database, job.id).state == "succeeded"
    for job in (lost, cancelled):
        assert stored(database, job.id) == []
        assert row(database, job.id).state == "running"


def test_records_know_the_epoch_that_wrote_them(database: Database) -> None:
    job_id = insert(database)
    execute(database, "UPDATE jobs SET epoch = 6")
    [job] = claim(database)
    with database.statement() as connection:
        JobRepository(connection).succeed_many([Succeeded(job, encoded([{}]))])
        assert connection.execute(text("SELECT job_id, epoch FROM records")).all() == [(job_id, 7)]


def test_a_claim_is_cheap_with_a_hundred_thousand_queued(database: Database) -> None:
    for number in range(20):
        insert_many(database, f"client-{number}", 5000)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE jobs"))
    claim(database, 8)
    started = time.monotonic()
    for _ in range(10):
        assert len(claim(database, 32)) == 32
    assert (time.monotonic() - started) / 10 < CLAIM_SECONDS_MAX
