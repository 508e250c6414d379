"""The HTTP face of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

import anyio
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


class DatabaseSlots:
    """As many requests may use the database at once as the pool has connections; the rest wait briefly."""

    def __init__(self, slots: int, wait_seconds_max: float) -> None:
        self._limiter = anyio.CapacityLimiter(slots)
        self._wait_seconds_max = wait_seconds_max

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


async def _slot(request: Request) -> AsyncIterator[None]:
    slots: DatabaseSlots = request.app.state.database_slots
    async with slots.hold():
        yield


async def _service(request: Request) -> JobService:
    service: JobService = request.app.state.job_service
    return service


Service = Annotated[JobService, Depends(_service)]

router = APIRouter(
    prefix="/api/v1/jobs",
    tags=["jobs"],
    # Function scope: the slot is free again before the answer is sent to a slow client.
    dependencies=[Depends(_slot, scope="function")],
)


@router.post("/trigger", status_code=202, responses=responses(422, 503))
def trigger(
    request: Request,
    service: Service,
    spec: Annotated[TriggerRequest, Body()],
    x_client_id: Annotated[ClientId, Header()] = DEFAULT_CLIENT_ID,
) -> JobAccepted:
    """Store a job that collects from a source. It is committed when the answer is sent."""
    return service.submit(spec, client_id=x_client_id, request_id=request.state.request_id)


@router.get("/status/{job_id}", responses=responses(404, 422, 503))
def status(job_id: UUID, service: Service) -> JobStatus:
    """Tell where a job is."""
    return service.status(job_id)


@router.get("/result/{job_id}", responses=responses(404, 409, 422, 503))
def result(
    job_id: UUID,
    service: Service,
    limit: Annotated[int, Query(ge=1, le=RESULT_LIMIT_MAX)] = RESULT_LIMIT_DEFAULT,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="`next_after` of the page before.")] = -1,
) -> JobResult:
    """Return a page of what a finished job collected."""
    return service.result(job_id, after=after, limit=limit)
