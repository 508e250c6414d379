"""Settings of the ``jobs`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt
from pydantic_settings import BaseSettings


class JobsSettings(BaseSettings):
    """Declared here, read there."""

    client_running_max: PositiveInt | None = None
    """How many jobs of one client all workers together run at once. Left out: as many as its share is."""
    worker_store_max: NonNegativeInt = 64
    """How many short jobs a worker may claim ahead of its threads."""
