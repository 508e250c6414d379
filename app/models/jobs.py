"""Jobs, the records they collect, and what happened to them."""

from __future__ import annotations

import enum

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, SmallInteger, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from app.models.base import metadata, timestamp


class JobState(enum.StrEnum):
    """States of a job. ``failed``: it can never succeed; ``dead``: it was tried often enough."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing will happen any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobEvent(enum.StrEnum):
    """What can happen to a job. All but ``cancel_requested`` change its state."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"
    RETRIED = "retried"
    RELEASED = "released"
    RESCUED = "rescued"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    REPLAYED = "replayed"


_STATUS_AFTER = {
    JobEvent.CLAIMED: JobState.RUNNING,
    JobEvent.CANCEL_REQUESTED: JobState.RUNNING,
    JobEvent.SUCCEEDED: JobState.SUCCEEDED,
    JobEvent.FAILED: JobState.FAILED,
    JobEvent.DEAD: JobState.DEAD,
    JobEvent.CANCELLED: JobState.CANCELLED,
}


def status_after(event: JobEvent) -> JobState:
    """Return the state that an event leaves a job in."""
    return _STATUS_AFTER.get(event, JobState.QUEUED)


jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    timestamp("run_at"),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("rescues", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("lease_owner", Text),
    timestamp("lease_until", nullable=True),
    Column("record_count", Integer, nullable=False),
    Column("error", JSONB),
    Column("request_id", Text),
    timestamp("created_at"),
    timestamp("updated_at"),
    timestamp("started_at", nullable=True),
    timestamp("finished_at", nullable=True),
    Column("idempotency_key", Text),
    Column("request_fingerprint", Text),
    Column("progress_done", BigInteger),
    Column("progress_total", BigInteger),
    timestamp("cancel_requested_at", nullable=True),
    Column("events", Integer, nullable=False),
    Column("trace_context", Text),
)

records = Table(
    "records",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("content", JSONB, nullable=False),
    Column("epoch", BigInteger),
)

job_events = Table(
    "job_events",
    metadata,
    # No foreign key: each would cost a look-up and a lock. Only the purge deletes jobs, with their events.
    Column("job_id", Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("client_id", Text, nullable=False),
    timestamp("at"),
    Column("event", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("detail", JSONB),
)
