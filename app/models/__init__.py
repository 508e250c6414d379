"""Tables of the service, as the migrations leave them: a module per slice."""

from __future__ import annotations

from app.models.avatars import avatars
from app.models.base import metadata
from app.models.jobs import JobEvent, JobState, job_events, jobs, records

__all__ = ["JobEvent", "JobState", "avatars", "job_events", "jobs", "metadata", "records"]
