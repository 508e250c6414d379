"""Settings of the ``cache`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class CacheSettings(BaseSettings):
    """Declared here, read there."""
