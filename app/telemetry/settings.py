"""Settings of the ``telemetry`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic_settings import BaseSettings


class TelemetrySettings(BaseSettings):
    """Declared here, read there."""
