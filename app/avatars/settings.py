"""Settings of the ``avatars`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class AvatarsSettings(BaseSettings):
    """Declared here, read there."""
