"""Tables of the service, as the migrations leave them."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()


class JobState(enum.StrEnum):
    """States of a job. ``failed``: it can never succeed; ``dead``: it was tried often enough."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"

    @property
    def finished(self) -> bool:
        """Whether nothing will happen any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


def _timestamp(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    Column("config", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    _timestamp("run_at"),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("rescues", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("lease_owner", Text),
    _timestamp("lease_until", nullable=True),
    Column("record_count", Integer, nullable=False),
    Column("error", JSONB),
    Column("request_id", Text),
    _timestamp("created_at"),
    _timestamp("updated_at"),
    _timestamp("started_at", nullable=True),
    _timestamp("finished_at", nullable=True),
)

records = Table(
    "records",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("content", JSONB, nullable=False),
)
