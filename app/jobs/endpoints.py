"""The HTTP face of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
from fastapi import APIRouter, Body, Depends, Header, Query, Request

from app.errors import DatabaseUnavailableError
from app.jobs.schemas import (
    DEFAULT_CLIENT_ID,
    RESULT_LIMIT_DEFAULT,
    RESULT_LIMIT_MAX,
    ClientId,
    JobAccepted,
    JobResult,
    JobStatus,
    TriggerRequest,
)
from app.jobs.service import JobService
from app.problems import responses

CHECK_THREADS = 4

AnswerT = TypeVar("AnswerT")


class DatabaseSlots:
    """As many requests may use the database at once as the pool has connections; the rest wait briefly.

    Taken when a request is known to be valid: one that is not is told so whatever the database does.
    """

    def __init__(self, slots: int, wait_seconds_max: float) -> None:
        self._limiter = anyio.CapacityLimiter(slots)
        self._checks = anyio.CapacityLimiter(CHECK_THREADS)
        self._wait_seconds_max = wait_seconds_max

    async def check(self, act: Callable[[], None]) -> None:
        """Run a check in a thread that no request on the database holds."""
        await anyio.to_thread.run_sync(act, limiter=self._checks)

    async def run(self, act: Callable[[], AnswerT]) -> AnswerT:
        """Run something on the database in a thread, within a slot."""
        # The slot is free again before the answer is sent to a slow client.
        async with self.hold():
            return await anyio.to_thread.run_sync(act)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold a slot. Waiting is bounded, or a slow database would pile requests up without end."""
        holder = object()
        with anyio.move_on_after(self._wait_seconds_max) as waiting:
            await self._limiter.acquire_on_behalf_of(holder)
        if waiting.cancelled_caught:
            raise DatabaseUnavailableError("overloaded")
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(holder)


async def _slots(request: Request) -> DatabaseSlots:
    slots: DatabaseSlots = request.app.state.database_slots
    return slots


async def _service(request: Request) -> JobService:
    service: JobService = request.app.state.job_service
    return service


Service = Annotated[JobService, Depends(_service)]
Slots = Annotated[DatabaseSlots, Depends(_slots)]

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.post("/trigger", status_code=202, responses=responses(422, 503))
async def trigger(
    request: Request,
    service: Service,
    slots: Slots,
    spec: Annotated[TriggerRequest, Body()],
    x_client_id: Annotated[ClientId, Header()] = DEFAULT_CLIENT_ID,
) -> JobAccepted:
    """Store a job that collects from a source. It is committed when the answer is sent."""
    request_id: str = request.state.request_id
    await slots.check(lambda: service.check(spec))
    return await slots.run(lambda: service.submit(spec, client_id=x_client_id, request_id=request_id))


@router.get("/status/{job_id}", responses=responses(404, 422, 503))
async def status(job_id: UUID, service: Service, slots: Slots) -> JobStatus:
    """Tell where a job is."""
    return await slots.run(lambda: service.status(job_id))


@router.get("/result/{job_id}", responses=responses(404, 409, 422, 503))
async def result(
    job_id: UUID,
    service: Service,
    slots: Slots,
    limit: Annotated[int, Query(ge=1, le=RESULT_LIMIT_MAX)] = RESULT_LIMIT_DEFAULT,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="`next_after` of the page before.")] = -1,
) -> JobResult:
    """Return a page of what a finished job collected."""
    return await slots.run(lambda: service.result(job_id, after=after, limit=limit))
