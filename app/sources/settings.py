"""Settings of the ``sources`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class SourcesSettings(BaseSettings):
    """Declared here, read there."""
