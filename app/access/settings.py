"""Settings of the ``access`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class AccessSettings(BaseSettings):
    """Declared here, read there."""
