"""Settings of the ``cache`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings


class CacheSettings(BaseSettings):
    """Declared here, read there."""

    cache_timeout_seconds: PositiveFloat = 0.1
    """For connecting to Redis and for each operation of the cache."""
    cache_wait_seconds: PositiveFloat = 0.5
    """How long a reader waits for another that loads the same value, before it loads it too."""
    cache_entry_bytes_max: PositiveInt = 512 * 1024
    """Larger values are not cached."""
    cache_result_seconds: NonNegativeFloat = 300.0
    """How long status and result pages of jobs that succeeded are cached. 0: not at all."""
    cache_source_seconds: NonNegativeFloat = 3600.0
    """How long an answer of an API is kept, to ask it only whether that is still current. 0: not at all."""
