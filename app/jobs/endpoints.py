"""The HTTP face of jobs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, FastAPI, Header, Query, Request, Response

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

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Send the same request again with the same key, and it is stored once.",
        examples=["2026-11-22-assets-acme"],
    ),
]
"""A parameter of every endpoint that stores a job."""

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.post("/trigger", status_code=202, responses=responses(409, 422, 503))
async def trigger(  # noqa: PLR0917  FastAPI fills them in by name
    request: Request,
    response: Response,
    context: InContext,
    principal: JobsWriter,
    spec: Annotated[TriggerRequest, Body()],
    idempotency_key: IdempotencyKey = None,
) -> JobAccepted:
    """Store a job that collects from a source. It is committed when the answer is sent."""
    request_id: str = request.state.request_id
    jobs = context.jobs
    await context.slots.check(lambda: jobs.check(spec))
    accepted = await context.slots.run(
        lambda: jobs.submit(
            spec, client_id=principal.client_id, request_id=request_id, idempotency_key=idempotency_key
        )
    )
    mark_replayed(response, accepted)
    return accepted


@router.get("/status/{job_id}", responses=responses(404, 422, 503))
async def status(job_id: UUID, context: InContext, principal: JobsReader) -> JobStatus:
    """Tell where a job is."""
    return await context.slots.run(lambda: context.jobs.status(job_id, client_id=principal.client_id))


@router.get("/result/{job_id}", responses=responses(404, 409, 422, 503))
async def result(
    job_id: UUID,
    context: InContext,
    principal: JobsReader,
    limit: Annotated[int, Query(ge=1, le=RESULT_LIMIT_MAX)] = RESULT_LIMIT_DEFAULT,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="`next_after` of the page before.")] = -1,
) -> JobResult:
    """Return a page of what a finished job collected."""
    return await context.slots.run(
        lambda: context.jobs.result(job_id, client_id=principal.client_id, after=after, limit=limit)
    )


def mark_replayed(response: Response, accepted: JobAccepted) -> None:
    """Say in a header when the answer is one that was given before."""
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"


def install(app: FastAPI, context: Context) -> None:  # noqa: ARG001  the signature of every slice
    """Add what jobs need to the API."""
    app.include_router(router)
