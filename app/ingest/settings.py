"""Settings of the ``ingest`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class IngestSettings(BaseSettings):
    """Declared here, read there."""
