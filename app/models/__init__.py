"""Tables of the service, as the migrations leave them: a module per slice."""

from __future__ import annotations

from app.models.access import api_keys, clients
from app.models.avatars import avatars
from app.models.base import metadata
from app.models.ingest import (
    FileState,
    ingest_days,
    ingest_files,
    ingest_rejects,
    ingest_runs,
    ingested_rows,
)
from app.models.jobs import JobEvent, JobState, job_events, jobs, records, status_after

__all__ = [
    "FileState",
    "JobEvent",
    "JobState",
    "api_keys",
    "avatars",
    "clients",
    "ingest_days",
    "ingest_files",
    "ingest_rejects",
    "ingest_runs",
    "ingested_rows",
    "job_events",
    "jobs",
    "metadata",
    "records",
    "status_after",
]
