"""Stands before every route: who has no business here gets no further, whatever the route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog
from starlette.requests import Request
from starlette.routing import BaseRoute, Match

from app.access.errors import CredentialInvalidError, CredentialMissingError
from app.access.keys import Key, PepperMissingError
from app.access.principal import Principal
from app.errors import DcsError
from app.problems import problem_response
from app.telemetry.metrics import access as metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.access.access import Access
    from app.access.repository import KeyRecord

OPEN_PATHS = frozenset({"/health", "/metrics", "/docs", "/openapi.json"})
OPEN_PREFIXES = ("/health/",)

log = structlog.get_logger()


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in OPEN_PATHS or path.startswith(OPEN_PREFIXES)


class Guard:
    """Middleware that recognises the caller. Every path but a few needs a key, known or not."""

    def __init__(self, app: ASGIApp, *, access: Access, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._directory = access.directory
        self._peppers = access.peppers
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            record = await self._authenticate(scope)
        except DcsError as error:
            self._name_route(scope)
            await problem_response(Request(scope), error)(scope, receive, send)
            return
        scope["state"]["principal"] = Principal(record.client_id, record.scopes, record.key_id)
        structlog.contextvars.bind_contextvars(client_id=record.client_id)
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> KeyRecord:
        given = [value for name, value in scope["headers"] if name == b"x-api-key"]
        if not given:
            raise _refused("missing", CredentialMissingError())
        key = Key.parse(given[0].decode("latin-1")) if len(given) == 1 else None
        if key is None:
            raise _refused("malformed", CredentialInvalidError())
        record = await self._directory.find(key.key_id)
        if record is None or not self._proves(key, record):
            raise _refused("unknown", CredentialInvalidError())
        # Only who has proven to hold the key is told what became of it.
        if record.revoked:
            raise _refused("revoked", CredentialInvalidError("The key was revoked. Use its successor."))
        if record.expired:
            raise _refused("expired", CredentialInvalidError("The key has expired. Use its successor."))
        if record.use_unnoted:
            self._directory.note_use(record.key_id)
        return record

    def _proves(self, key: Key, record: KeyRecord) -> bool:
        try:
            return self._peppers.matches(key, record.secret_hash)
        except PepperMissingError:
            log.error("access_pepper_missing", key_id=key.key_id)  # noqa: TRY400  no traceback: it is a setting
            return False

    def _name_route(self, scope: Scope) -> None:
        # The router never sees the request, but its metrics and log line name the route all the same.
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                scope["route"] = route
                return


def _refused(reason: str, error: DcsError) -> DcsError:
    metrics.REFUSED.labels(reason).inc()
    return error
