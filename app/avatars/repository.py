"""Every query on avatars."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, select, text, tuple_

from app.avatars.moderation import Scores, Verdict
from app.errors import FencedError
from app.jobs.repository import ClaimedJob
from app.models import jobs
from app.models.avatars import avatars

_INSERT = text(
    """
    INSERT INTO avatars (job_id, client_id, prompt, upload, content_digest)
    VALUES (:job_id, :client_id, :prompt, :upload, :content_digest)
    """
)

# What is written before the job ends carries the fence too: this epoch, and still running.
_FENCE = """
    FROM jobs
    WHERE avatars.job_id = :id AND jobs.id = avatars.job_id AND jobs.epoch = :epoch AND jobs.state = 'running'
"""
_BEGIN = text(
    f"""
    UPDATE avatars SET stage = CASE WHEN verdict IS NULL THEN 'moderating' ELSE 'generating' END
    {_FENCE}
    RETURNING avatars.client_id, avatars.prompt, avatars.upload, avatars.content_digest, avatars.verdict
    """  # noqa: S608  a constant
)
_MODERATED = text(
    f"""
    UPDATE avatars SET verdict = CAST(:verdict AS jsonb), moderated_at = now(), stage = 'generating'
    {_FENCE}
    """  # noqa: S608  a constant
)
_MODERATED_BEFORE = text(
    """
    SELECT verdict FROM avatars
    WHERE client_id = :client_id AND content_digest = :content_digest AND verdict IS NOT NULL
          AND verdict ->> 'moderator' = :moderator
          AND moderated_at > now() - make_interval(secs => :age_seconds_max)
    ORDER BY moderated_at DESC
    LIMIT 1
    """
)
_PUBLISH = text(
    """
    UPDATE avatars SET stage = 'ready', image = :image, svg = :svg, upload = NULL
    WHERE job_id = :id AND verdict @> '{"allowed": true}'
    """
)
_REJECT = text("UPDATE avatars SET stage = 'rejected', upload = NULL WHERE job_id = :id")

_SHOWN = (
    avatars.c.job_id,
    avatars.c.prompt.is_not(None).label("from_prompt"),
    avatars.c.stage,
    avatars.c.verdict,
    avatars.c.created_at,
    jobs.c.state,
    jobs.c.attempt,
    jobs.c.error,
    jobs.c.finished_at,
)


@dataclass(frozen=True)
class NewAvatar:
    """What is stored with a new job: a prompt, or an image as PNG."""

    prompt: str | None
    upload: bytes | None
    content_digest: bytes


@dataclass(frozen=True)
class StoredVerdict:
    """What moderation said, as it is kept."""

    verdict: Verdict
    moderator: str

    def dump(self) -> str:
        """Return it as JSON."""
        verdict, found = self.verdict, self.verdict.found
        return orjson.dumps(
            {
                "allowed": verdict.allowed,
                "category": verdict.category,
                "score": verdict.score,
                "scores": dict(found.scores),
                "flagged": found.flagged,
                "model": found.model,
                "reference": found.reference,
                "moderator": self.moderator,
            }
        ).decode()

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> StoredVerdict:
        """Return what ``dump`` wrote."""
        found = Scores(stored["scores"], stored["flagged"], stored["model"], stored["reference"])
        return cls(Verdict(found, stored["category"], stored["score"]), stored["moderator"])


@dataclass(frozen=True)
class Work:
    """What a worker works on."""

    client_id: str
    prompt: str | None
    upload: bytes | None
    content_digest: bytes
    verdict: StoredVerdict | None


class AvatarRepository:
    """Queries, in the transaction of the connection given."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, job_id: UUID, client_id: str, new: NewAvatar) -> None:
        """Store what an avatar is made of."""
        values = {
            "job_id": job_id,
            "client_id": client_id,
            "prompt": new.prompt,
            "upload": new.upload,
            "content_digest": new.content_digest,
        }
        self._connection.execute(_INSERT, values)

    def begin(self, job: ClaimedJob) -> Work:
        """Start an attempt. Raises ``FencedError``."""
        row = self._connection.execute(_BEGIN, {"id": job.id, "epoch": job.epoch}).one_or_none()
        if row is None:
            raise FencedError
        return Work(
            row.client_id,
            row.prompt,
            bytes(row.upload) if row.upload is not None else None,
            bytes(row.content_digest),
            StoredVerdict.load(row.verdict) if row.verdict is not None else None,
        )

    def moderated_before(self, work: Work, *, moderator: str, age_seconds_max: float) -> Scores | None:
        """Return what this moderator said about the same content of the same client, if not too long ago."""
        values = {
            "client_id": work.client_id,
            "content_digest": work.content_digest,
            "moderator": moderator,
            "age_seconds_max": age_seconds_max,
        }
        row = self._connection.execute(_MODERATED_BEFORE, values).one_or_none()
        return StoredVerdict.load(row.verdict).verdict.found if row is not None else None

    def moderated(self, job: ClaimedJob, verdict: StoredVerdict) -> None:
        """Keep the verdict. Raises ``FencedError``."""
        values = {"id": job.id, "epoch": job.epoch, "verdict": verdict.dump()}
        if self._connection.execute(_MODERATED, values).rowcount != 1:
            raise FencedError

    def publish(self, job_id: UUID, *, image: bytes, svg: str | None) -> None:
        """Store the image, in the transaction that finishes the job. Refused for what was not allowed."""
        values = {"id": job_id, "image": image, "svg": svg}
        if self._connection.execute(_PUBLISH, values).rowcount != 1:
            msg = f"avatar {job_id} has no verdict that allows it"
            raise AssertionError(msg)

    def reject(self, job_id: UUID) -> None:
        """Say that there will be no image, and forget the one that was sent."""
        self._connection.execute(_REJECT, {"id": job_id})

    def find(self, job_id: UUID, client_id: str) -> Row[Any] | None:
        """Return where an avatar is."""
        query = select(*_SHOWN).join(jobs, jobs.c.id == avatars.c.job_id)
        mine = (avatars.c.job_id == job_id, avatars.c.client_id == client_id)
        return self._connection.execute(query.where(*mine)).one_or_none()

    def page(self, client_id: str, *, before: tuple[dt.datetime, UUID] | None, limit: int) -> list[Row[Any]]:
        """Return up to ``limit`` avatars, the newest first, older than ``before``."""
        query = (
            select(*_SHOWN)
            .join(jobs, jobs.c.id == avatars.c.job_id)
            .where(avatars.c.client_id == client_id)
            .order_by(avatars.c.created_at.desc(), avatars.c.job_id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(tuple_(avatars.c.created_at, avatars.c.job_id) < before)
        return list(self._connection.execute(query))

    def image(self, job_id: UUID) -> Row[bytes, str | None]:
        """Return the images of an avatar that is ready."""
        return self._connection.execute(
            select(avatars.c.image, avatars.c.svg).where(avatars.c.job_id == job_id)
        ).one()
