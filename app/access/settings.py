"""Settings of the ``access`` slice, part of ``app.settings.Settings``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    Field,
    IPvAnyNetwork,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_settings import BaseSettings

KIBIBYTE = 1024
TokenKeyId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,32}$")]
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+(:\d{1,5})?$")]


class AccessSettings(BaseSettings):
    """Declared here, read there."""

    access_pepper_file: Path | None = None
    """A secret, a line, that key hashes are made with; older ones below it. Left out: plain SHA-256."""
    access_grace_seconds: NonNegativeFloat = 30.0
    """How long a key counts that the database knew before it stopped answering."""

    access_rate_limit_per_minute: PositiveInt = 100
    """Of a key that has no limit of its own, in the long run."""
    access_burst: PositiveInt = 20
    """How many of them at once: in any T seconds at most this, plus T times the rate."""
    access_anonymous_rate_limit_per_minute: PositiveInt = 100
    """Of requests without a key, by address."""
    access_failures_per_minute: PositiveInt = 20
    """How many wrong credentials an address may try, also at once."""
    access_processes: PositiveInt = 2
    """How many API processes there are: without Redis each lets through its share."""
    access_redis_budget_seconds: Annotated[PositiveFloat, Field(le=1.0)] = 0.1
    """How long a request waits for Redis to count it."""
    access_trusted_proxies: list[IPvAnyNetwork] = []
    """JSON list of networks whose `X-Forwarded-For` is believed: the proxies before this API, nobody else."""

    access_token_keys: dict[TokenKeyId, Path] = {}
    """JSON object: key id to a file with a secret of 32 characters or more. Left out: no tokens."""
    access_token_key: TokenKeyId | None = None
    """Which of them signs new tokens; the others are still believed."""
    access_token_seconds: Annotated[int, Field(ge=10, le=3600)] = 900
    """How long a token lives at most."""

    access_cors_origins: list[Origin] = []
    """JSON list of origins, such as `https://app.example.org`, whose pages may call this API."""
    access_body_bytes_max: PositiveInt = 1024 * KIBIBYTE
    """Of a request, except an avatar's upload, which has a limit of its own."""
    access_headers_bytes_max: PositiveInt = 16 * KIBIBYTE
    """Of all headers of a request."""
    access_url_bytes_max: PositiveInt = 4 * KIBIBYTE
    """Of a request's path and query."""

    @model_validator(mode="after")
    def _tokens_can_be_signed(self) -> Self:
        if self.access_token_keys and self.access_token_key not in self.access_token_keys:
            msg = "DCS_ACCESS_TOKEN_KEY must name one of DCS_ACCESS_TOKEN_KEYS"
            raise ValueError(msg)
        return self
