"""What health checks answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Dependency(BaseModel):
    """The last probe of something this process needs."""

    model_config = ConfigDict(frozen=True)

    status: Literal["up", "down"]
    reason: str | None = Field(description="Why it is down.", examples=["refused"])
    target: str
    checked_seconds_ago: float


class Health(BaseModel):
    """How this process is. ``degraded``: it serves, but something it needs is down."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok", "degraded"]
    version: str
    instance: str
    dependencies: dict[str, Dependency]


class Liveness(BaseModel):
    """The process answers."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether this process wants traffic."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ready", "starting", "draining", "unmigrated"]
