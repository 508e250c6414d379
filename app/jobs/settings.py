"""Settings of the ``jobs`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class JobsSettings(BaseSettings):
    """Declared here, read there."""
