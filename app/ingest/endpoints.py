"""The HTTP face of ingest."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Request

from app.access.principal import IngestReader, IngestWriter, Scope
from app.context import Context, InContext
from app.ingest.errors import FileNotFoundInLedgerError, IngestOffError, RunNotFoundError
from app.ingest.schemas import (
    PAGE_LIMIT_DEFAULT,
    PAGE_LIMIT_MAX,
    DayPage,
    EventNotification,
    EventsTaken,
    FilePage,
    IngestFileDetail,
    PopulateRequest,
    Replayed,
    Run,
    RunAccepted,
)
from app.ingest.service import IngestService
from app.models import FileState
from app.problems import responses
from app.wire import Day

router = APIRouter(prefix="/api/v1/populate", tags=["ingest"])

FileId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Identifies the version of the file.")]
RunId = Annotated[UUID, Path(description="Identifies the listing.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX)]


async def _reading(context: InContext) -> IngestService:
    settings = context.settings
    return IngestService(
        context.database,
        context.jobs.intake,
        bucket=settings.ingest_bucket or "",
        max_attempts=settings.ingest_max_attempts,
    )


async def _writing(context: InContext) -> IngestService:
    if context.settings.ingest_bucket is None:
        raise IngestOffError
    return await _reading(context)


Reading = Annotated[IngestService, Depends(_reading)]
Writing = Annotated[IngestService, Depends(_writing)]


@router.post("", status_code=202, responses=responses(IngestOffError, 422, 503))
async def populate(
    request: Request,
    context: InContext,
    principal: IngestWriter,
    service: Writing,
    body: Annotated[PopulateRequest, Body()],
) -> RunAccepted:
    """Look for your files of a day, below a prefix, or for one, and load what is new.

    Also loads again what is dead; with `force`, everything that is found. Days that were missed are filled in
    this way.
    """
    spec = service.check(body, client_id=principal.client_id)
    request_id: str = request.state.request_id
    return await context.slots.run(
        lambda: service.populate(spec, client_id=principal.client_id, request_id=request_id)
    )


@router.post("/events", status_code=202, responses=responses(IngestOffError, 422, 503))
async def events(
    request: Request,
    context: InContext,
    principal: IngestWriter,
    service: Writing,
    body: Annotated[EventNotification, Body()],
) -> EventsTaken:
    """Take S3 event notifications: twice, late or in any order, they make the same jobs.

    Records of other clients are ignored, unless the key has the scope `ingest:events` too, which only whoever
    runs the service gives: then the key of each object says whose it is.
    """
    client_id = None if Scope.INGEST_EVENTS in principal.scopes else principal.client_id
    request_id: str = request.state.request_id
    return await context.slots.run(lambda: service.take(body, client_id=client_id, request_id=request_id))


@router.get("/runs/{run_id}", responses=responses(RunNotFoundError, 422, 503))
async def run(run_id: RunId, context: InContext, principal: IngestReader, service: Reading) -> Run:
    """Tell what a listing found."""
    return await context.slots.run(lambda: service.run(run_id, client_id=principal.client_id))


@router.get("/files", responses=responses(422, 503))
async def files(  # noqa: PLR0917  FastAPI passes them by name
    context: InContext,
    principal: IngestReader,
    service: Reading,
    status: Annotated[FileState | None, Query(description="Only files in this state.")] = None,
    day: Annotated[Day | None, Query(description="Only files of this day.")] = None,
    before: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="`next_before` of the page before.")
    ] = None,
    limit: Limit = PAGE_LIMIT_DEFAULT,
) -> FilePage:
    """List the ledger of your files, newest first."""
    return await context.slots.run(
        lambda: service.files(
            client_id=principal.client_id, state=status, day=day, before=before, limit=limit
        )
    )


@router.get("/files/{file_id}", responses=responses(FileNotFoundInLedgerError, 422, 503))
async def file(
    file_id: FileId, context: InContext, principal: IngestReader, service: Reading
) -> IngestFileDetail:
    """Tell what became of a file, and which of its rows were rejected."""
    return await context.slots.run(lambda: service.file(file_id, client_id=principal.client_id))


@router.post(
    "/files/{file_id}/replay",
    status_code=202,
    responses=responses(FileNotFoundInLedgerError, IngestOffError, 422, 503),
)
async def replay(
    request: Request, file_id: FileId, context: InContext, principal: IngestWriter, service: Writing
) -> Replayed:
    """Load a file again, whatever became of it."""
    request_id: str = request.state.request_id
    return await context.slots.run(
        lambda: service.replay(file_id, client_id=principal.client_id, request_id=request_id)
    )


@router.get("/days", responses=responses(422, 503))
async def days(
    context: InContext,
    principal: IngestReader,
    service: Reading,
    before: Annotated[Day | None, Query(description="`next_before` of the page before.")] = None,
    limit: Limit = PAGE_LIMIT_DEFAULT,
) -> DayPage:
    """List days, newest first, and whether each is complete."""
    return await context.slots.run(
        lambda: service.days(client_id=principal.client_id, before=before, limit=limit)
    )


def install(app: FastAPI, context: Context) -> None:  # noqa: ARG001  the signature of every slice
    """Add what ingest needs to the API."""
    app.include_router(router)
