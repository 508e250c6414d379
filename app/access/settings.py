"""Settings of the ``access`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeFloat
from pydantic_settings import BaseSettings


class AccessSettings(BaseSettings):
    """Declared here, read there."""

    access_pepper_file: Path | None = None
    """A secret, a line, that key hashes are made with; older ones below it. Left out: plain SHA-256."""
    access_grace_seconds: NonNegativeFloat = 30.0
    """How long a key counts that the database knew before it stopped answering."""
