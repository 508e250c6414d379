"""Settings of the ``avatars`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from pydantic_settings import BaseSettings

from app.avatars.moderation import CATEGORIES

Threshold = Annotated[float, Field(ge=0.0, le=1.0)]

THRESHOLDS_DEFAULT = {
    "hate": 0.5,
    "violence": 0.6,
    "sexual": 0.6,
    "self_harm": 0.5,
    "personal_data": 0.5,
}


class AvatarsSettings(BaseSettings):
    """Declared here, read there."""

    avatars_moderation: Literal["simulated", "http"] = "simulated"
    """Who moderates: `simulated` in the worker itself, or `http`, the API at DCS_AVATARS_MODERATION_URL."""
    avatars_moderation_url: HttpUrl | None = None
    """Base URL of the moderation API; `/v1/moderate` is added. Required with `http`."""
    avatars_moderation_token_file: Path | None = None
    """File with the bearer token for the moderation API, read at every call. Left out: none is sent."""
    avatars_moderation_timeout_seconds: PositiveFloat = 15.0
    """Deadline of one call of the moderation API in all, however slowly it answers."""
    avatars_moderation_connect_timeout_seconds: PositiveFloat = 2.0
    """How long connecting to the moderation API may take."""
    avatars_thresholds: dict[str, Threshold] = THRESHOLDS_DEFAULT
    """JSON object: category to the score from which on content is rejected; those left out keep theirs."""
    avatars_threshold_other: Threshold = 0.8
    """The same for categories that the moderation API scores and DCS_AVATARS_THRESHOLDS does not name."""
    avatars_concurrency_max: PositiveInt = 1
    """Avatars that a worker runs at once; one thread fewer than it has at most, so that others always run."""
    avatars_max_attempts: PositiveInt = 30
    """After this many failed attempts an avatar has failed: 20 minutes without moderation, or more."""
    avatars_breaker_failures: PositiveInt = 5
    """Failed calls in a row after which a worker stops calling the moderation API for a while."""
    avatars_breaker_open_seconds: PositiveFloat = 10.0
    """How long that while is; then one call tries whether it works again."""
    avatars_verdict_reuse_seconds: NonNegativeFloat = 86_400.0
    """How long scores count for the same content of the same client; 0: every avatar is moderated anew."""
    avatars_upload_bytes_max: PositiveInt = 2 * 1024**2
    """Largest image file that may be uploaded."""
    avatars_upload_pixels_max: PositiveInt = 4096 * 4096
    """Most pixels an uploaded image may have: what decoding it takes in memory is four bytes for each."""

    @model_validator(mode="after")
    def _moderation_is_complete(self) -> Self:
        if self.avatars_moderation == "http" and self.avatars_moderation_url is None:
            msg = "DCS_AVATARS_MODERATION=http needs DCS_AVATARS_MODERATION_URL"
            raise ValueError(msg)
        unknown = sorted(set(self.avatars_thresholds) - set(CATEGORIES))
        if unknown:
            known = ", ".join(CATEGORIES)
            msg = f"DCS_AVATARS_THRESHOLDS names {', '.join(unknown)}; categories are {known}"
            raise ValueError(msg)
        return self
