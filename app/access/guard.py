"""Stands before every route: who has no business here gets no further, whatever the route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import BaseRoute, Match

from app.access import headers, versions
from app.access.address import bucket
from app.access.authentication import refused
from app.access.body import BodyLimit
from app.access.errors import BodyTooLargeError, HeadersTooLargeError, UrlTooLongError
from app.errors import DcsError
from app.problems import problem_response
from app.telemetry import log_context

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.access.access import Access
    from app.access.gcra import Decision

UNGUARDED_PATHS = frozenset({"/health", "/metrics"})
UNGUARDED_PREFIXES = ("/health/",)
DOCUMENT_PATHS = frozenset({"/docs", "/openapi.json"})


def is_unguarded(path: str) -> bool:
    """Return whether a path is neither guarded nor counted: what watches the service must always get in."""
    return path in UNGUARDED_PATHS or path.startswith(UNGUARDED_PREFIXES)


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in DOCUMENT_PATHS or is_unguarded(path)


class _Answer:
    """One answer on its way out, with the headers that every answer has."""

    def __init__(self, scope: Scope, send: Send, body: BodyLimit, *, https: bool) -> None:
        self._scope = scope
        self._send = send
        self._body = body
        self._https = https
        self.decision: Decision | None = None
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send a message of the answer, unless it is about a body that was cut off."""
        if self._body.exceeded and not self.started:
            return  # whatever the application made of that
        if message["type"] == "http.response.start":
            self.started = True
            state = self._scope["state"]
            state["status"] = message["status"]
            request_id = (b"x-request-id", state["request_id"].encode("latin-1"))
            given = [*message["headers"], request_id, *versions.headers_of(self._scope.get("route"))]
            message["headers"] = headers.complete(given, decision=self.decision, https=self._https)
        await self._send(message)

    def let_pass(self) -> None:
        """Send what comes now, too: it is about the body."""
        self._body.exceeded = False


class Guard:
    """Middleware that knows every caller. All paths but a few need a key, also those that no route takes."""

    def __init__(self, app: ASGIApp, *, access: Access, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._access = access
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = BodyLimit(receive, self._access.bytes_max(scope["path"]))
        answer = _Answer(scope, send, body, https=self._access.proxies.is_https(scope))
        try:
            await self._admit(scope, body, answer)
            await self._app(scope, body, answer)
            if body.exceeded and not answer.started:
                raise BodyTooLargeError
        except DcsError as error:
            # The application answers its own errors: this is the guard's, or a body that went on too long.
            if answer.started:
                raise
            await self._refuse(scope, receive, error, answer)

    async def _admit(self, scope: Scope, body: BodyLimit, answer: _Answer) -> None:
        access, path = self._access, scope["path"]
        if is_unguarded(path):
            return
        access.check_head(scope)
        body.check_declared(scope)
        if path in DOCUMENT_PATHS:
            answer.decision = await access.limits.take_anonymous(bucket(access.proxies.client(scope)))
            return
        found = await access.authenticator.recognise(scope)
        record = found.record
        # From here on the caller is known: also in the log line and the figures of a refusal.
        scope["state"]["principal"] = found.principal
        log_context.bind(client_id=record.client_id)
        answer.decision = await access.limits.take_key(
            record.key_id, record.rate_limit_per_minute, record.burst
        )
        await access.authenticator.check_use(found, scope, body)

    async def _refuse(self, scope: Scope, receive: Receive, error: DcsError, answer: _Answer) -> None:
        body_too_large = isinstance(error, BodyTooLargeError)
        if body_too_large or isinstance(error, UrlTooLongError | HeadersTooLargeError):
            refused("body_too_large" if body_too_large else "head_too_large", error)
        self._name_route(scope)
        answer.let_pass()
        await problem_response(Request(scope), error)(scope, receive, answer)

    def _name_route(self, scope: Scope) -> None:
        # The router never sees the request, but its metrics and log line name the route all the same.
        if "route" in scope:
            return
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                scope["route"] = route
                return
