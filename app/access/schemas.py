"""Keys on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.access.keys import KEY_ID_PATTERN
from app.access.principal import Scope
from app.access.repository import KeyInfo
from app.access.service import IssuedKey
from app.access.tokens import LIFETIME_SECONDS_LIMIT
from app.wire import WHOLE, Integer

LIFETIME_SECONDS_MAX = 5 * 365 * 86_400
OVERLAP_SECONDS_MAX = 30 * 86_400

Lifetime = Annotated[int, Field(strict=True, ge=60, le=LIFETIME_SECONDS_MAX), WHOLE]
KeyId = Annotated[str, Field(pattern=KEY_ID_PATTERN, examples=["mzxw6ytboi4dsnbq"])]


class KeyCreate(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(Scope),
        description="Not more than the key has that asks, and never `ingest:events`.",
        examples=[["jobs:read", "jobs:write"]],
    )
    lifetime_seconds: Lifetime | None = Field(default=None, description="Left out: until it is revoked.")


class KeyRotate(BaseModel):
    """How a key gives way to its successor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap_seconds: Annotated[int, Field(strict=True, ge=0, le=OVERLAP_SECONDS_MAX), WHOLE] | None = Field(
        default=None,
        description="The old key expires then. Left out: it goes on until it is revoked.",
    )


class KeyView(BaseModel):
    """A key, without its secret."""

    model_config = ConfigDict(frozen=True)

    key_id: str = Field(examples=["mzxw6ytboi4dsnbq"])
    scopes: list[Scope]
    rate_limit_per_minute: int | None = Field(description="Null: the service's default.")
    burst: int | None = Field(description="Null: the service's default.")
    ip_allowlist: list[str] = Field(description="Networks it may be used from; empty: from anywhere.")
    signing_required: bool
    active: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")

    @classmethod
    def of(cls, info: KeyInfo) -> KeyView:
        """Return what the owner of a key sees of it."""
        return cls.model_validate({name: getattr(info, name) for name in cls.model_fields})


class KeyList(BaseModel):
    """The keys of a client: the active first, then the newest."""

    model_config = ConfigDict(frozen=True)

    keys: list[KeyView]


class KeyIssued(BaseModel):
    """A new key. This is the only time that its secrets are shown."""

    model_config = ConfigDict(frozen=True)

    key: KeyView
    secret: str = Field(description="What to send as `X-API-Key`.", examples=["dcs_mzxw6ytboi4dsnbq_…"])
    signing_secret: str | None = Field(description="What to sign with, if requests must be signed.")

    @classmethod
    def of(cls, issued: IssuedKey) -> KeyIssued:
        """Return what the caller is told once."""
        return cls(key=KeyView.of(issued.info), secret=issued.text, signing_secret=issued.signing_secret)


class TokenRequest(BaseModel):
    """A token to be issued."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scopes: list[Scope] | None = Field(
        default=None,
        min_length=1,
        max_length=len(Scope),
        description="Not more than the key has. Left out: all of them.",
        examples=[["jobs:read"]],
    )
    lifetime_seconds: Integer = Field(
        default=900, ge=10, le=LIFETIME_SECONDS_LIMIT, description="The service may allow less."
    )


class TokenIssued(BaseModel):
    """A token. It may be used until it expires or its key is revoked."""

    model_config = ConfigDict(frozen=True)

    access_token: str = Field(description="What to send as `Authorization: Bearer`.", examples=["eyJ…"])
    token_type: Literal["Bearer"] = Field(default="Bearer", description="How it is sent.")
    expires_in: int = Field(description="Seconds.")
    scope: str = Field(description="What it may be used for.", examples=["jobs:read jobs:write"])


class Caller(BaseModel):
    """Who the service takes you for."""

    model_config = ConfigDict(frozen=True)

    client_id: str = Field(examples=["acme-corp"])
    key_id: str | None
    scopes: list[Scope]
