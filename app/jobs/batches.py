"""Submissions that come while others are being stored are stored together: one statement, one commit."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from app.database.admission import Gate
from app.database.slots import DatabaseSlots
from app.errors import DcsError, OverloadedError
from app.jobs.intake import JobIntake, Outcome, count_submitted, tell
from app.jobs.schemas import JobAccepted
from app.jobs.submission import Submission
from app.telemetry.metrics.jobs import JOBS_STORED_TOGETHER
from app.telemetry.tally import Tally
from app.telemetry.tracing import current_traceparent

BATCH_MAX = 32
"""Submissions in one statement."""
AT_ONCE_MAX = 4
"""Statements under way: enough that one which hangs does not stop the others. More would only be smaller."""


def _count(stored: tuple[str, str], number: int, _total: float) -> None:
    count_submitted(*stored, number)


_stored = Tally(_count)


@dataclass(eq=False)
class _Waiting:
    submission: Submission
    outcome: asyncio.Future[Outcome]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Batches:
    """Group commit: nobody waits for company, but who comes meanwhile goes together.

    A commit costs the same for one job as for thirty, and so do the hop to a thread, the connection and the
    round trip. Under load that is most of what a submission costs.
    """

    def __init__(
        self, intake: JobIntake, slots: DatabaseSlots, *, wait_seconds_max: float, waiting_max: int
    ) -> None:
        self._intake = intake
        self._slots = slots
        self._wait_seconds_max = wait_seconds_max
        self._gate = Gate("submissions", AT_ONCE_MAX * BATCH_MAX, wait_seconds_max, waiting_max)
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._called = False

    async def accept(self, submission: Submission) -> JobAccepted:
        """Store a job, as ``JobIntake.accept``. Raises as it, and ``OverloadedError``."""
        async with self._gate.hold():
            outcome = await self._join(submission)
        if outcome is None:
            return await self._slots.run(lambda: self._intake.accept(submission))
        if isinstance(outcome, DcsError):
            raise outcome
        return outcome

    async def _join(self, submission: Submission) -> Outcome:
        loop = asyncio.get_running_loop()
        # The batch is another's trace.
        submission = dataclasses.replace(submission, trace_context=current_traceparent())
        waiting = _Waiting(submission, loop.create_future())
        self._waiting.append(waiting)
        if not self._called and len(self._under_way) < AT_ONCE_MAX:
            self._called = True
            loop.call_soon(self._begin)  # after the other requests that arrived with this one
        timer = loop.call_later(self._wait_seconds_max, self._give_up, waiting)
        try:
            return await waiting.outcome
        finally:
            timer.cancel()

    def _give_up(self, waiting: _Waiting) -> None:
        """Refuse who has waited too long, unless a statement has it."""
        with suppress(ValueError):
            self._waiting.remove(waiting)
            if not waiting.outcome.done():
                waiting.outcome.set_result(self._gate.refusal("waited_too_long"))

    def _begin(self) -> None:
        self._called = False
        while self._waiting and len(self._under_way) < AT_ONCE_MAX:
            taken = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            batch = [one for one in taken if not one.outcome.done()]  # nobody waits for the others any more
            if not batch:
                continue
            # Its log lines and its span carry the ids of the first.
            task = asyncio.get_running_loop().create_task(self._store(batch), context=batch[0].context)
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._begin()

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        JOBS_STORED_TOGETHER.observe(len(batch))
        submissions = [one.submission for one in batch]
        outcomes: Sequence[Outcome]
        try:
            outcomes = await self._slots.run(lambda: self._intake.accept_together(submissions))
        except OverloadedError as failure:  # no slot for it, which has been counted once
            outcomes = [failure, *(self._gate.refusal("waited_too_long") for _ in batch[1:])]
        except Exception as failure:  # noqa: BLE001  whoever waits is told
            for one in batch:
                if not one.outcome.done():
                    one.outcome.set_exception(failure)
            return
        for one, outcome in zip(batch, outcomes, strict=True):
            nobody_waits = one.outcome.done()
            if isinstance(outcome, JobAccepted) and not outcome.replayed:
                if nobody_waits:  # in the context of the request, which has ended without knowing
                    one.context.copy().run(tell, outcome.job_id, one.submission)
                else:
                    # The line of the request names it.
                    _stored.add((one.submission.kind, one.submission.client_id))
            if not nobody_waits:
                one.outcome.set_result(outcome)
