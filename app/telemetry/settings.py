"""Settings of the ``telemetry`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings


class TelemetrySettings(BaseSettings):
    """Declared here, read there."""

    docs_enabled: bool = True
    """Whether /docs and /openapi.json are served. They need no key."""
    otlp_traces_endpoint: HttpUrl | None = None
    """Full OTLP/HTTP URL for spans, ``…/v1/traces``. Left out: none are kept; log lines have trace ids."""
    traces_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Which part of the traces that begin here is sampled. A caller's own decision is respected."""
