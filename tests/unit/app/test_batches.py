"""Who goes together, and what becomes of those who leave. The statements are held, and of no database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from app.database.slots import DatabaseSlots
from app.jobs.batches import AT_ONCE_MAX, BATCH_MAX, Batches
from app.jobs.ids import new_job_id
from app.jobs.intake import JobIntake, Outcome
from app.jobs.schemas import JobAccepted
from app.jobs.submission import Submission
from app.models import JobState
from app.telemetry import metrics, tally

HELD_SECONDS_MAX = 10.0


class HeldStatements:
    """Stands for the intake: each statement waits until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.statements: list[list[str]] = []

    def accept_together(self, submissions: Sequence[Submission]) -> list[Outcome]:
        self.statements.append([submission.request_id for submission in submissions])
        assert self.let_go.wait(HELD_SECONDS_MAX)
        if any(submission.kind == "broken" for submission in submissions):
            raise ZeroDivisionError
        return [JobAccepted(job_id=new_job_id(), status=JobState.QUEUED) for _ in submissions]


def handed_in(request_id: str, kind: str = "file") -> Submission:
    return Submission(kind, {}, "acme", request_id)


@pytest.fixture
def held() -> HeldStatements:
    return HeldStatements()


def batches_of(held: HeldStatements) -> Batches:
    slots = DatabaseSlots(AT_ONCE_MAX, 5.0)
    return Batches(cast("JobIntake", held), slots, wait_seconds_max=5.0, waiting_max=500)


async def begin(batches: Batches, *submissions: Submission) -> list[asyncio.Task[JobAccepted]]:
    tasks = [asyncio.create_task(batches.accept(submission)) for submission in submissions]
    await asyncio.sleep(0.02)
    return tasks


async def fill(batches: Batches) -> list[asyncio.Task[JobAccepted]]:
    """Let a statement with one submission be under way for each that may be."""
    return [
        task for number in range(AT_ONCE_MAX) for task in await begin(batches, handed_in(f"alone-{number}"))
    ]


def test_what_arrives_together_goes_together_and_no_statement_is_too_long(held: HeldStatements) -> None:
    async def run() -> list[Any]:
        batches = batches_of(held)
        tasks = await begin(batches, handed_in("a"), handed_in("b"))
        tasks += await begin(batches, *(handed_in(str(number)) for number in range(BATCH_MAX + 3)))
        held.let_go.set()
        return await asyncio.gather(*tasks)

    assert len({accepted.job_id for accepted in asyncio.run(run())}) == BATCH_MAX + 5
    assert [len(statement) for statement in held.statements] == [2, BATCH_MAX, 3]


def test_no_more_statements_than_are_allowed_are_under_way(held: HeldStatements) -> None:
    async def run() -> None:
        batches = batches_of(held)
        tasks = await fill(batches)
        tasks += await begin(batches, handed_in("x"))
        tasks += await begin(batches, handed_in("y"))
        assert len(held.statements) == AT_ONCE_MAX
        held.let_go.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert held.statements[AT_ONCE_MAX:] == [["x", "y"]]


def test_who_leaves_before_a_statement_is_not_stored_and_who_leaves_later_is_told_of(
    held: HeldStatements,
) -> None:
    async def run() -> None:
        batches = batches_of(held)
        under_way = await fill(batches)
        waiting = await begin(batches, handed_in("early"), handed_in("stays"))
        under_way[0].cancel()
        waiting[0].cancel()
        await asyncio.sleep(0.02)
        held.let_go.set()
        await asyncio.gather(*under_way[1:], waiting[1])
        for left in (under_way[0], waiting[0]):
            with suppress(asyncio.CancelledError):
                await left

    def counted() -> float:
        tally.settle()
        return sum(sample.value for sample in next(iter(metrics.JOBS_SUBMITTED.collect())).samples)

    before = counted()
    with capture_logs() as lines:
        asyncio.run(run())
    assert held.statements[AT_ONCE_MAX:] == [["stays"]]
    # No line of a request will name the job of who has left.
    assert [line["event"] for line in lines] == ["job_submitted"]
    assert counted() == before + AT_ONCE_MAX + 1


def test_a_defect_is_told_to_everybody_in_the_statement_and_nobody_else(held: HeldStatements) -> None:
    async def run() -> list[Any]:
        batches = batches_of(held)
        tasks = await begin(batches, handed_in("a"), handed_in("b", kind="broken"))
        tasks += await begin(batches, handed_in("c"))
        held.let_go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(second, ZeroDivisionError)
    assert isinstance(third, JobAccepted)
