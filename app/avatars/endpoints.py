"""The HTTP face of avatars."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response

from app.access.principal import AvatarsReader, AvatarsWriter
from app.avatars.errors import (
    AvatarMediaTypeError,
    AvatarNotFoundError,
    AvatarsBusyError,
    AvatarTooLargeError,
    AvatarUnfinishedError,
    AvatarUploadSlowError,
    AvatarWithoutImageError,
)
from app.avatars.intake import Intake
from app.avatars.schemas import (
    CURSOR_CHARACTERS_MAX,
    PAGE_LIMIT_DEFAULT,
    PAGE_LIMIT_MAX,
    REQUEST_BODY,
    AvatarAccepted,
    AvatarPage,
    AvatarStatus,
    ImageFormat,
)
from app.avatars.service import PATH, AvatarService
from app.context import Context, InContext
from app.errors import SubmissionUnknownError
from app.jobs.endpoints import IdempotencyKey
from app.jobs.errors import IdempotencyKeyReusedError, QueueFullError
from app.problems import responses

# The image of an id never changes; it is for those alone who may ask for it.
CACHE_CONTROL = "private, max-age=31536000, immutable"

router = APIRouter(prefix=PATH, tags=["avatars"])


async def _service(context: InContext) -> AvatarService:
    return AvatarService(
        context.database, context.jobs.intake, max_attempts=context.settings.avatars_max_attempts
    )


async def _intake(request: Request) -> Intake:
    intake: Intake = request.app.state.avatar_intake
    return intake


InService = Annotated[AvatarService, Depends(_service)]


@router.post(
    "",
    status_code=202,
    responses=responses(
        AvatarUploadSlowError,
        IdempotencyKeyReusedError,
        AvatarTooLargeError,
        AvatarMediaTypeError,
        422,
        QueueFullError,
        503,
        AvatarsBusyError,
        SubmissionUnknownError,
    ),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def create(  # noqa: PLR0917  FastAPI passes by name
    request: Request,
    response: Response,
    context: InContext,
    service: InService,
    principal: AvatarsWriter,
    intake: Annotated[Intake, Depends(_intake)],
    idempotency_key: IdempotencyKey = None,
) -> AvatarAccepted:
    """Store a prompt or an image to make an avatar of. It is moderated before anything can be seen of it."""
    request_id: str = request.state.request_id
    new = await intake.read(request)
    accepted = await context.slots.run(
        lambda: service.accept(
            new, client_id=principal.client_id, request_id=request_id, idempotency_key=idempotency_key
        )
    )
    response.headers["Location"] = accepted.status_url
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return accepted


@router.get("", responses=responses(422, 503))
async def page(
    context: InContext,
    service: InService,
    principal: AvatarsReader,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT,
    cursor: Annotated[
        str | None,
        Query(max_length=CURSOR_CHARACTERS_MAX, description="`next_cursor` of the page before."),
    ] = None,
) -> AvatarPage:
    """List the avatars of a client, the newest first."""
    return await context.slots.run(
        lambda: service.page(client_id=principal.client_id, cursor=cursor, limit=limit)
    )


@router.get("/{job_id}", responses=responses(AvatarNotFoundError, 422, 503))
async def status(
    job_id: UUID, context: InContext, service: InService, principal: AvatarsReader
) -> AvatarStatus:
    """Tell where an avatar is."""
    return await context.slots.run(lambda: service.status(job_id, client_id=principal.client_id))


@router.get(
    "/{job_id}/image",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}, "image/svg+xml": {}}, "description": "The image."},
        304: {"description": "It is the one whose `ETag` was sent with `If-None-Match`."},
        **responses(AvatarNotFoundError, AvatarWithoutImageError, AvatarUnfinishedError, 422, 503),
    },
)
async def image(  # noqa: PLR0917  FastAPI passes by name
    request: Request,
    job_id: UUID,
    context: InContext,
    service: InService,
    principal: AvatarsReader,
    form: Annotated[ImageFormat, Query(alias="format")] = ImageFormat.PNG,
) -> Response:
    """Return the image of an avatar that is ready. It never changes."""
    found = await context.slots.run(lambda: service.image(job_id, form, client_id=principal.client_id))
    headers = {
        "ETag": found.etag,
        "Cache-Control": CACHE_CONTROL,
        "X-Content-Type-Options": "nosniff",
        # An SVG opened by itself is a document; this one may do nothing.
        "Content-Security-Policy": "default-src 'none'; img-src data:; sandbox",
    }
    if _is_known(request.headers.get("if-none-match", ""), found.etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'inline; filename="avatar-{job_id}.{form.value}"'
    return Response(found.content, media_type=found.media_type, headers=headers)


def _is_known(if_none_match: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def install(app: FastAPI, context: Context) -> None:
    """Add what avatars needs to the API."""
    app.state.avatar_intake = Intake(context.settings)
    app.include_router(router)
