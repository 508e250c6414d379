"""What is sent bit by bit: results, and events of a job."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as RequestScope

from app.access.access import Access
from app.access.principal import JobsReader, Principal, Scope
from app.access.standing import Standing
from app.context import InContext
from app.errors import JobNotFoundError, JobUnfinishedError
from app.jobs.errors import StreamsBusyError, TooManyColumnsError, TooManyStreamsError
from app.jobs.events import EventHub, Subscription
from app.jobs.exports import Format, ResultExport, wanted_format
from app.jobs.schemas import RESULT_LIMIT_DEFAULT, RESULT_LIMIT_MAX, JobResult
from app.problems import responses

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

JobId = Annotated[UUID, Path(description="As the answer to the trigger request said.")]

_RESULTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page of the records as JSON, or all of them as NDJSON or CSV. A stream that is cut "
        "off lacks its last chunk, which every HTTP client reports; ask again from the last record.",
        "headers": {
            "X-Record-Count": {
                "description": "With NDJSON and CSV: how many records the result has.",
                "schema": {"type": "integer"},
            }
        },
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "A JSON object per line, in order."},
                "example": '{"id":"1","name":"asset-1"}\n{"id":"2","name":"asset-2"}\n',
            },
            "text/csv": {
                "schema": {
                    "type": "string",
                    "description": "RFC 4180 with a header: every field that any record has, in the order of "
                    "appearance. Missing and null are empty, nested values are JSON. Text that a spreadsheet "
                    "would take for a formula begins with an apostrophe.",
                },
                "example": "id,name\r\n1,asset-1\r\n2,'=1+1\r\n",
            },
        },
    }
}


@router.get(
    "/result/{job_id}",
    response_model=JobResult,
    responses={**_RESULTS, **responses(JobNotFoundError, JobUnfinishedError, TooManyColumnsError, 422, 503)},
)
async def result(  # noqa: PLR0917  FastAPI fills them in by name
    job_id: JobId,
    request: Request,
    context: InContext,
    principal: JobsReader,
    limit: Annotated[
        int, Query(ge=1, le=RESULT_LIMIT_MAX, description="Records in a page; a stream has all.")
    ] = RESULT_LIMIT_DEFAULT,
    after: Annotated[
        int, Query(ge=-1, le=2**31 - 1, description="`next_after` of the page before; records count from 0.")
    ] = -1,
    format: Annotated[  # noqa: A002  the name of the parameter
        Format | None, Query(description="Left out: what the `Accept` header likes best.")
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> JobResult | Response:
    """Return what a finished job collected: a page as JSON, or everything as NDJSON or CSV."""
    reader = context.jobs.reader
    chosen = format or wanted_format(accept)
    if chosen is Format.JSON:
        return await context.slots.run(
            lambda: reader.result(job_id, client_id=principal.client_id, after=after, limit=limit)
        )
    job = await context.slots.run(lambda: reader.status(job_id, client_id=principal.client_id))
    if not job.status.finished:
        raise JobUnfinishedError
    export = ResultExport(context.slots, reader, job_id, job.record_count, _standing(request, principal))
    return await export.response(chosen, after=after)


def _standing(request: Request, principal: Principal) -> Standing:
    access: Access = request.app.state.access
    return Standing(access.directory, principal, Scope.JOBS_READ)


class _EventStream(StreamingResponse):
    """Gives its place back however it ends, also when the client is gone before it begins."""

    def __init__(self, hub: EventHub, subscription: Subscription, standing: Standing) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(hub.follow(subscription, standing), media_type="text/event-stream", headers=headers)
        self._hub = hub
        self._subscription = subscription

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.close(self._subscription)


_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events. Each thing that happens to the job is an event named after it "
        "(`submitted`, `claimed`, `retried`, `succeeded`, …) whose data is an entry of the audit and whose "
        "id is its `seq`; `progress` has no id. The stream ends with the job, with the key, or after 5 "
        "minutes: come back with the `Last-Event-ID`.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "One event.",
                    "required": ["event", "data"],
                    "properties": {
                        "id": {"type": "string"},
                        "event": {"type": "string"},
                        "data": {"type": "string", "description": "A JSON object."},
                        "retry": {"type": "integer"},
                    },
                },
                "example": 'id: 2\nevent: claimed\ndata: {"seq":2,"event":"claimed","status":"running"}\n\n'
                'event: progress\ndata: {"done":120,"total":500}\n\n',
            }
        },
    },
    204: {"description": "The job has ended and everything was told before: do not come back."},
}


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={**_EVENTS, **responses(JobNotFoundError, 422, TooManyStreamsError, 503, StreamsBusyError)},
)
async def events(
    job_id: JobId,
    request: Request,
    context: InContext,
    principal: JobsReader,
    last_event_id: Annotated[
        int, Header(alias="Last-Event-ID", ge=0, le=2**31 - 1, description="`id` of the last event seen.")
    ] = 0,
) -> Response:
    """Tell what happens to a job, from its beginning and as it happens."""
    reader = context.jobs.reader
    job = await context.slots.run(lambda: reader.status(job_id, client_id=principal.client_id))
    if job.status.finished and last_event_id:
        told = await context.slots.run(
            lambda: reader.audit(job_id, client_id=principal.client_id, after=last_event_id)
        )
        if not told.events:
            return Response(status_code=204)
    hub: EventHub = request.app.state.job_events
    subscription = hub.subscribe(job_id, principal.client_id, last_event_id)
    return _EventStream(hub, subscription, _standing(request, principal))
