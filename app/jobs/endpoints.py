"""The HTTP face of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, FastAPI, Header, Path, Query, Request, Response

from app.access.principal import JobsReader, JobsWriter
from app.context import Context, InContext
from app.errors import JobNotFoundError, SubmissionUnknownError
from app.jobs import streams
from app.jobs.errors import (
    IdempotencyKeyReusedError,
    JobFinishedError,
    JobNotReplayableError,
    QueueFullError,
)
from app.jobs.events import EventHub
from app.jobs.repository.reading import JobFilter
from app.jobs.schemas import (
    LIST_LIMIT_DEFAULT,
    LIST_LIMIT_MAX,
    TRIGGER_EXAMPLES,
    JobAccepted,
    JobAudit,
    JobPage,
    JobStatus,
    TriggerRequest,
)
from app.jobs.submission import collection
from app.models import JobState
from app.problems import responses
from app.telemetry import log_context
from app.wire import Moment

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Send the same request again with the same key, and it is stored once. The key is free "
        "again when its job is deleted.",
        examples=["2026-11-22-assets-acme"],
    ),
]
"""A parameter of every endpoint that stores a job."""

JobId = Annotated[UUID, Path(description="As the answer to the trigger request said.")]
ListLimit = Annotated[int, Query(ge=1, le=LIST_LIMIT_MAX, description="Jobs in a page.")]
Cursor = Annotated[
    str | None, Query(max_length=100, description="`next_cursor` of the page before, with the same filters.")
]

REPLAYED_HEADER = {
    "Idempotency-Replayed": {
        "description": "`true` when an earlier request with the same key stored the job.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])


@router.post(
    "/trigger",
    status_code=202,
    responses={
        202: {"headers": REPLAYED_HEADER},
        **responses(IdempotencyKeyReusedError, 422, QueueFullError, 503, SubmissionUnknownError),
    },
)
async def trigger(  # noqa: PLR0917  FastAPI fills them in by name
    request: Request,
    response: Response,
    context: InContext,
    principal: JobsWriter,
    spec: Annotated[TriggerRequest, Body(openapi_examples=TRIGGER_EXAMPLES)],
    idempotency_key: IdempotencyKey = None,
) -> JobAccepted:
    """Store a job that collects from a source. It is committed when the answer is sent.

    With an `Idempotency-Key` the request can be sent again until it is answered: 409 says that the key
    stands for another request, 429 that too many of the client's jobs are waiting.
    """
    request_id: str = request.state.request_id
    jobs = context.jobs
    if jobs.check_may_wait(spec):
        await context.slots.check(lambda: jobs.check(spec, client_id=principal.client_id))
    else:
        # A hop to a thread and back would cost many times as much.
        jobs.check(spec, client_id=principal.client_id)
    submission = collection(
        spec, client_id=principal.client_id, request_id=request_id, idempotency_key=idempotency_key
    )
    accepted = await context.batches.accept(submission)
    # One line tells of the request and of its job.
    log_context.bind(job_id=accepted.job_id, source_type=submission.kind)
    mark_replayed(response, accepted)
    return accepted


@router.get("", responses=responses(422, 503))
async def list_jobs(  # noqa: PLR0917
    context: InContext,
    principal: JobsReader,
    status: Annotated[Sequence[JobState], Query(description="May be given more than once.")] = (),
    source_type: Annotated[str | None, Query(pattern=r"^[a-z][a-z0-9_]{0,31}$", examples=["api"])] = None,
    priority: Annotated[int | None, Query(ge=0, le=9, description="Only jobs of this priority.")] = None,
    created_after: Annotated[Moment | None, Query(description="From this moment on.")] = None,
    created_before: Annotated[Moment | None, Query(description="Until before this moment.")] = None,
    cursor: Cursor = None,
    limit: ListLimit = LIST_LIMIT_DEFAULT,
) -> JobPage:
    """List the client's jobs, the newest first."""
    which = JobFilter(
        principal.client_id,
        tuple(sorted(set(status))),
        source_type,
        priority,
        created_after,
        created_before,
    )
    reader = context.jobs.reader
    return await context.slots.run(lambda: reader.list_jobs(which, page_cursor=cursor, limit=limit))


@router.get("/dead-letters", responses=responses(422, 503))
async def dead_letters(
    context: InContext, principal: JobsReader, cursor: Cursor = None, limit: ListLimit = LIST_LIMIT_DEFAULT
) -> JobPage:
    """List the client's dead jobs, the newest first: each was tried as often as it may be. Replay them."""
    which = JobFilter(principal.client_id, (JobState.DEAD,))
    reader = context.jobs.reader
    return await context.slots.run(lambda: reader.list_jobs(which, page_cursor=cursor, limit=limit))


@router.get("/status/{job_id}", responses=responses(JobNotFoundError, 422, 503))
async def status(job_id: JobId, context: InContext, principal: JobsReader) -> JobStatus:
    """Tell where a job is."""
    reader = context.jobs.reader
    return await context.slots.run(lambda: reader.status(job_id, client_id=principal.client_id))


@router.post(
    "/{job_id}/cancel",
    responses={
        200: {"description": "The job is cancelled."},
        202: {"model": JobStatus, "description": "The job runs, and will end as `cancelled` soon."},
        **responses(JobNotFoundError, JobFinishedError, 422, 503),
    },
)
async def cancel(job_id: JobId, response: Response, context: InContext, principal: JobsWriter) -> JobStatus:
    """Cancel a job: at once if it is queued, soon if it runs. What it collects from then on is not stored.

    409 says that it has ended otherwise. To cancel it again changes nothing.
    """
    found = await context.slots.run(lambda: context.jobs.cancel(job_id, client_id=principal.client_id))
    response.status_code = 200 if found.status is JobState.CANCELLED else 202
    return found


@router.post(
    "/{job_id}/replay",
    status_code=202,
    responses=responses(JobNotFoundError, JobNotReplayableError, 422, QueueFullError, 503),
)
async def replay(job_id: JobId, context: InContext, principal: JobsWriter) -> JobAccepted:
    """Queue a dead or failed job again, with all its attempts. 409 says that it is neither."""
    return await context.slots.run(lambda: context.jobs.replay(job_id, client_id=principal.client_id))


@router.get("/{job_id}/audit", responses=responses(JobNotFoundError, 422, 503))
async def audit(
    job_id: JobId,
    context: InContext,
    principal: JobsReader,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="`seq` of the last entry known.")] = 0,
) -> JobAudit:
    """Tell everything that has happened to a job."""
    reader = context.jobs.reader
    return await context.slots.run(lambda: reader.audit(job_id, client_id=principal.client_id, after=after))


def mark_replayed(response: Response, accepted: JobAccepted) -> None:
    """Say in a header when the answer is one that was given before."""
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"


# Not included: a router inside of a router hides its routes from whoever walks them, as metrics and the
# document do.
router.routes.extend(streams.router.routes)


def install(app: FastAPI, context: Context) -> None:
    """Add what jobs need to the API."""
    app.state.job_events = EventHub(
        context.jobs.reader,
        context.slots,
        app.state.draining,
        streams_max=context.settings.event_streams_max,
        client_streams_max=context.settings.client_event_streams_max,
        poll_seconds=context.settings.event_poll_seconds,
    )
    app.include_router(router)
