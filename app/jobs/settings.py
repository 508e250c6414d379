"""Settings of the ``jobs`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings


class JobsSettings(BaseSettings):
    """Declared here, read there."""

    client_running_max: PositiveInt | None = None
    """How many jobs of one client all workers together run at once. Left out: as many as its share is."""
    client_queued_max: PositiveInt = 20_000
    """How many jobs of one client may wait; the next is refused with 429. Counted once a second."""
    worker_store_max: NonNegativeInt = 64
    """How many short jobs a worker may claim ahead of its threads."""
    event_streams_max: PositiveInt = 200
    """Event streams (SSE) that one API process serves at once."""
    client_event_streams_max: PositiveInt = 10
    """Of these, how many may be one client's."""
    event_poll_seconds: PositiveFloat = 1.0
    """How often an API process asks the database about all jobs whose events it streams."""
    job_retention_days: NonNegativeFloat = 30.0
    """Finished jobs, with all that belongs to them, are deleted after this time. 0: never."""
