"""What clients send and get."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from app.models import JobEvent, JobState
from app.sources.catalogue import SourceSpec

if TYPE_CHECKING:
    from fastapi.openapi.models import Example

TriggerRequest = SourceSpec
TRIGGER_EXAMPLES: dict[str, Example] = {
    kind: {"summary": summary, "value": {"source_type": kind, "config": config}}
    for kind, summary, config in (
        ("api", "A resource of an API", {"endpoint": "evidence", "resource": "controls"}),
        (
            "database",
            "A reviewed query of a database",
            {"database": "acme", "query": "open_findings", "params": {"min_severity": 3}},
        ),
        ("file", "A file", {"path": "acme/assets.csv"}),
        ("s3", "Objects of the store", {"prefix": "2026-11-21/"}),
    )
}

RESULT_LIMIT_DEFAULT = 100
RESULT_LIMIT_MAX = 1000
LIST_LIMIT_DEFAULT = 50
LIST_LIMIT_MAX = 200


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


class JobProgress(_Answer):
    """How far a job is, as of a second ago."""

    done: int = Field(
        description="How much, in what its kind counts: records of `api` and `database`, bytes of `file` and "
        "of an ingested file, objects of `s3`.",
        examples=[120],
    )
    total: int | None = Field(description="Null as long as nobody knows.", examples=[500])


class JobStatus(_Answer):
    """Where a job is."""

    job_id: UUID
    status: JobState
    client_id: str
    source_type: str = Field(examples=["api"], description="The kind of the job.")
    priority: int = Field(description="0 to 9; the highest runs first.")
    attempt: int = Field(description="Attempts so far, the running one included.")
    max_attempts: int
    record_count: int
    progress: JobProgress | None = Field(description="Null if the job's kind does not tell.")
    cancel_requested: bool = Field(description="The job is running, and will end as `cancelled`.")
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


class JobPage(_Answer):
    """Jobs of the client, the newest first."""

    jobs: list[JobStatus] = Field(description="The jobs of this page.")
    next_cursor: str | None = Field(
        description="Pass as `cursor`, with the same filters, to get the next page; null on the last page."
    )


class AuditEntry(_Answer):
    """One thing that happened to a job."""

    seq: int = Field(description="Counts from 1 without a gap.")
    at: datetime = Field(description="When, by the clock of the database.")
    event: JobEvent = Field(description="What happened.")
    status: JobState = Field(description="Of the job from then on.")
    attempt_epoch: int = Field(description="How often the job had been taken by a worker.")
    detail: dict[str, Any] = Field(
        description="More about it; which keys depends on the event.",
        examples=[{"reason": "http_503", "delay_seconds": 1.4}],
    )


class JobAudit(_Answer):
    """What happened to a job, in order; at most 1000 entries."""

    job_id: UUID
    events: list[AuditEntry] = Field(description="Those after `after`, in order.")
