"""Who is calling."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from app.access.errors import ScopeMissingError
from app.telemetry.metrics import access as metrics

CLIENT_ID_PATTERN = r"^[a-z0-9-]{1,64}$"


class Scope(enum.StrEnum):
    """What a key may be allowed to do."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    INGEST_READ = "ingest:read"
    INGEST_WRITE = "ingest:write"
    AVATARS_READ = "avatars:read"
    AVATARS_WRITE = "avatars:write"
    INGEST_EVENTS = "ingest:events"
    ADMIN = "admin"


OPERATOR_SCOPES = frozenset({Scope.INGEST_EVENTS})
"""What lets a key speak for every client: the API gives it to none, only whoever runs the service does."""


@dataclass(frozen=True)
class Principal:
    """The client a request is made for, and what its key allows. Every query filters by ``client_id``."""

    client_id: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    by_token: bool = False


class Requirement:
    """A dependency that answers with the ``Principal`` the guard recognised, if it has the scope."""

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:
        """Return who is calling. Raises ``ScopeMissingError``."""
        # The guard has refused every request without a principal: one that gets here is a defect.
        principal: Principal = request.state.principal
        if self.scope is not None and self.scope not in principal.scopes:
            metrics.REFUSED.labels("scope").inc()
            raise ScopeMissingError(f"The key does not have the scope `{self.scope}`. Use one that has it.")
        return principal


def requires(scope: Scope | None) -> Any:
    """Return a dependency that answers with the ``Principal``, or refuses: 403 without the scope.

    Without any valid key a request is refused before it gets here: 401, whatever the route.
    """
    return Depends(Requirement(scope))


JobsReader = Annotated[Principal, requires(Scope.JOBS_READ)]
JobsWriter = Annotated[Principal, requires(Scope.JOBS_WRITE)]
IngestReader = Annotated[Principal, requires(Scope.INGEST_READ)]
IngestWriter = Annotated[Principal, requires(Scope.INGEST_WRITE)]
AvatarsReader = Annotated[Principal, requires(Scope.AVATARS_READ)]
AvatarsWriter = Annotated[Principal, requires(Scope.AVATARS_WRITE)]
Admin = Annotated[Principal, requires(Scope.ADMIN)]
AnyCaller = Annotated[Principal, requires(None)]
