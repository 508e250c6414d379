"""The HTTP face of jobs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, FastAPI, Query, Request

from app.access.principal import JobsReader, JobsWriter
from app.context import Context, InContext
from app.jobs.schemas import (
    RESULT_LIMIT_DEFAULT,
    RESULT_LIMIT_MAX,
    JobAccepted,
    JobResult,
    JobStatus,
    TriggerRequest,
)
from app.problems import responses

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.post("/trigger", status_code=202, responses=responses(422, 503))
async def trigger(
    request: Request, context: InContext, principal: JobsWriter, spec: Annotated[TriggerRequest, Body()]
) -> JobAccepted:
    """Store a job that collects from a source. It is committed when the answer is sent."""
    request_id: str = request.state.request_id
    jobs = context.jobs
    await context.slots.check(lambda: jobs.check(spec))
    return await context.slots.run(
        lambda: jobs.submit(spec, client_id=principal.client_id, request_id=request_id)
    )


@router.get("/status/{job_id}", responses=responses(404, 422, 503))
async def status(job_id: UUID, context: InContext, principal: JobsReader) -> JobStatus:  # noqa: ARG001
    """Tell where a job is."""
    return await context.slots.run(lambda: context.jobs.status(job_id))


@router.get("/result/{job_id}", responses=responses(404, 409, 422, 503))
async def result(
    job_id: UUID,
    context: InContext,
    principal: JobsReader,  # noqa: ARG001
    limit: Annotated[int, Query(ge=1, le=RESULT_LIMIT_MAX)] = RESULT_LIMIT_DEFAULT,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="`next_after` of the page before.")] = -1,
) -> JobResult:
    """Return a page of what a finished job collected."""
    return await context.slots.run(lambda: context.jobs.result(job_id, after=after, limit=limit))


def install(app: FastAPI, context: Context) -> None:  # noqa: ARG001  the signature of every slice
    """Add what jobs need to the API."""
    app.include_router(router)
