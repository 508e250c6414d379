"""What clients can do with avatars."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from app.avatars.drawing import SIDE, SVG_START
from app.avatars.errors import AvatarNotFoundError, AvatarUnfinishedError, AvatarWithoutImageError
from app.avatars.repository import AvatarRepository, NewAvatar
from app.avatars.schemas import (
    AvatarAccepted,
    AvatarFailure,
    AvatarInput,
    AvatarPage,
    AvatarRejection,
    AvatarState,
    AvatarStatus,
    ImageFormat,
)
from app.database.engine import Database
from app.errors import FieldError, InvalidRequestError
from app.jobs.intake import JobIntake
from app.jobs.submission import Submission
from app.models import JobState

KIND = "avatar"
PATH = "/api/v1/avatars"


@dataclass(frozen=True)
class Image:
    """An image as it is served. ``etag`` is a strong one, with its quotes."""

    content: bytes
    media_type: str
    etag: str


class AvatarService:
    """Accepts avatars and tells about them."""

    def __init__(self, database: Database, jobs: JobIntake, *, max_attempts: int) -> None:
        self._database = database
        self._jobs = jobs
        self._max_attempts = max_attempts

    def accept(
        self, new: NewAvatar, *, client_id: str, request_id: str, idempotency_key: str | None
    ) -> AvatarAccepted:
        """Store an avatar and its job; raises as ``JobIntake.accept``."""
        source = AvatarInput.PROMPT if new.prompt is not None else AvatarInput.IMAGE
        submission = Submission(
            KIND,
            # The content itself is no part of the job: it is kept once, and not in logs or lists of jobs.
            {"input": source.value, "content_digest": new.content_digest.hex()},
            client_id,
            request_id,
            max_attempts=self._max_attempts,
            idempotency_key=idempotency_key,
        )
        accepted = self._jobs.accept(
            submission,
            also=lambda connection, job_id: AvatarRepository(connection).insert(job_id, client_id, new),
        )
        url = f"{PATH}/{accepted.job_id}"
        if accepted.replayed:
            now = self.status(accepted.job_id, client_id=client_id).status
            return AvatarAccepted(job_id=accepted.job_id, status=now, status_url=url).as_replayed()
        return AvatarAccepted(job_id=accepted.job_id, status=AvatarState.QUEUED, status_url=url)

    def status(self, job_id: UUID, *, client_id: str) -> AvatarStatus:
        """Return where an avatar is. Raises ``AvatarNotFoundError``."""
        with self._database.transaction() as connection:
            row = AvatarRepository(connection).find(job_id, client_id)
        if row is None:
            raise AvatarNotFoundError
        return _status(row)

    def page(self, *, client_id: str, cursor: str | None, limit: int) -> AvatarPage:
        """Return a page of a client's avatars. Raises ``InvalidRequestError`` for a cursor of nobody."""
        before = _parsed_cursor(cursor) if cursor is not None else None
        with self._database.transaction() as connection:
            # One more than asked for tells whether there is a next page.
            rows = AvatarRepository(connection).page(client_id, before=before, limit=limit + 1)
        shown = rows[:limit]
        return AvatarPage(
            avatars=[_status(row) for row in shown],
            next_cursor=_cursor(shown[-1]) if len(rows) > limit else None,
        )

    def image(self, job_id: UUID, form: ImageFormat, *, client_id: str) -> Image:
        """Return the image.

        Raises:
            AvatarNotFoundError: The client has no such avatar.
            AvatarUnfinishedError: It is not ready yet.
            AvatarWithoutImageError: It never will be.

        """
        with self._database.transaction() as connection:
            repository = AvatarRepository(connection)
            row = repository.find(job_id, client_id)
            if row is None:
                raise AvatarNotFoundError
            state = _state(row)
            if state in (AvatarState.REJECTED, AvatarState.FAILED):
                raise AvatarWithoutImageError
            if state is not AvatarState.READY:
                raise AvatarUnfinishedError
            stored = repository.image(job_id)
        if form is ImageFormat.PNG:
            return _image(bytes(stored.image), "image/png")
        return _image((stored.svg or _wrapped(bytes(stored.image))).encode(), "image/svg+xml")


def _image(content: bytes, media_type: str) -> Image:
    return Image(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _wrapped(png: bytes) -> str:
    """Return an SVG around an image that was never one."""
    data = base64.b64encode(png).decode()
    return f'{SVG_START}<image width="{SIDE}" height="{SIDE}" href="data:image/png;base64,{data}"/></svg>\n'


def _state(row: Row[Any]) -> AvatarState:
    if row.stage in (AvatarState.READY, AvatarState.REJECTED):
        return AvatarState(row.stage)
    if row.state == JobState.QUEUED:
        return AvatarState.QUEUED
    if row.state == JobState.RUNNING:
        # Claimed, and about to begin.
        return AvatarState.MODERATING if row.stage == AvatarState.QUEUED else AvatarState(row.stage)
    return AvatarState.FAILED


def _status(row: Row[Any]) -> AvatarStatus:
    state = _state(row)
    rejection = None
    if state is AvatarState.REJECTED:
        rejection = AvatarRejection(category=row.verdict["category"], score=row.verdict["score"])
    error = AvatarFailure.model_validate(row.error) if row.error else None
    if state is AvatarState.FAILED and error is None:  # such as a job that was cancelled
        error = AvatarFailure(reason=row.state, message=f"The job is {row.state}.")
    return AvatarStatus(
        job_id=row.job_id,
        status=state,
        input=AvatarInput.PROMPT if row.from_prompt else AvatarInput.IMAGE,
        avatar_url=f"{PATH}/{row.job_id}/image" if state is AvatarState.READY else None,
        rejection=rejection,
        error=error,
        attempt=row.attempt,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _cursor(row: Row[Any]) -> str:
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()} {row.job_id}".encode()).decode()


def _parsed_cursor(cursor: str) -> tuple[dt.datetime, UUID]:
    try:
        moment, _, job_id = base64.urlsafe_b64decode(cursor.encode()).decode().rpartition(" ")
        created_at, found = dt.datetime.fromisoformat(moment), UUID(job_id)
    except (ValueError, binascii.Error):
        raise InvalidRequestError(FieldError("cursor", "Use the next_cursor of a page")) from None
    if created_at.tzinfo is None:
        raise InvalidRequestError(FieldError("cursor", "Use the next_cursor of a page"))
    return created_at, found
