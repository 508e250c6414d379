"""What clients send and get."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from app.models import JobState
from app.sources.catalogue import SourceSpec

TriggerRequest = SourceSpec

RESULT_LIMIT_DEFAULT = 100
RESULT_LIMIT_MAX = 1000


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobAccepted(_Answer):
    """The job is stored and will run."""

    job_id: UUID
    status: JobState
    _replayed: bool = PrivateAttr(default=False)

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same idempotency key stored it."""
        return self._replayed

    def as_replayed(self) -> Self:
        """Return the same, said again."""
        self._replayed = True
        return self


class JobFailure(_Answer):
    """Why the last attempt failed."""

    reason: str = Field(examples=["http_503"])
    message: str


class JobStatus(_Answer):
    """Where a job is."""

    job_id: UUID
    status: JobState
    client_id: str
    source_type: str = Field(examples=["api"], description="The kind of the job.")
    attempt: int = Field(description="Attempts so far, the running one included.")
    max_attempts: int
    record_count: int
    error: JobFailure | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobResult(_Answer):
    """What a finished job collected. ``failed`` and ``dead`` jobs have an error and no records."""

    job_id: UUID
    status: JobState
    record_count: int = Field(description="Of the whole result, not of this page.")
    error: JobFailure | None
    records: list[dict[str, Any]]
    next_after: int | None = Field(description="Pass as `after` to get the next page; null on the last page.")
