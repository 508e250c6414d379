"""The HTTP face of access: tokens and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.routing import BaseRoute

from app.access.access import Access
from app.access.errors import (
    KeyInactiveError,
    KeyLimitError,
    KeyNotFoundError,
    LimitsUnavailableError,
    ScopeMissingError,
    TokensUnavailableError,
)
from app.access.guard import Guard
from app.access.headers import OUTSIDE
from app.access.principal import OPERATOR_SCOPES, Admin, AnyCaller
from app.access.repository import KeySpec
from app.access.schemas import (
    Caller,
    KeyCreate,
    KeyId,
    KeyIssued,
    KeyList,
    KeyRotate,
    KeyView,
    TokenIssued,
    TokenRequest,
)
from app.context import Context, InContext
from app.problems import responses

CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-API-Key",
    "X-Nonce",
    "X-Request-ID",
    "X-Signature",
    "X-Timestamp",
)
CORS_ANSWER_HEADERS = (
    "Deprecation",
    "ETag",
    "Location",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "Sunset",
    "X-Request-ID",
)

router = APIRouter(prefix="/api/v1/access", tags=["access"])


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


@router.get("/me")
async def me(principal: AnyCaller) -> Caller:
    """Tell who the service takes you for."""
    return Caller(client_id=principal.client_id, key_id=principal.key_id, scopes=sorted(principal.scopes))


@router.post(
    "/token", responses=responses(ScopeMissingError, TokensUnavailableError, 422, 503, LimitsUnavailableError)
)
async def token(
    request: Request,
    principal: AnyCaller,
    wanted: Annotated[TokenRequest, Body()] = TokenRequest(),  # noqa: B008  frozen
) -> TokenIssued:
    """Exchange a key for a token: the same rights or fewer, for minutes. A token is not exchanged again."""
    access = _access(request)
    if principal.by_token or principal.key_id is None:
        raise ScopeMissingError("A token cannot ask for a token. Send the key.")
    scopes = principal.scopes if wanted.scopes is None else frozenset(wanted.scopes)
    beyond = sorted(scopes - principal.scopes)
    if beyond:
        raise ScopeMissingError(f"The key lacks the scopes {', '.join(beyond)} itself. Ask for fewer.")
    # Who tries keys out would find every process counting alone a help: better nobody gets a token.
    access.limits.require_shared()
    lifetime_seconds = min(wanted.lifetime_seconds, access.tokens.lifetime_seconds_max)
    issued = access.tokens.issue(
        client_id=principal.client_id,
        key_id=principal.key_id,
        scopes=scopes,
        lifetime_seconds=lifetime_seconds,
    )
    return TokenIssued(access_token=issued, expires_in=lifetime_seconds, scope=" ".join(sorted(scopes)))


@router.get("/keys", responses=responses(503))
async def list_keys(request: Request, context: InContext, principal: Admin) -> KeyList:
    """List your keys, without their secrets."""
    found = await context.slots.run(lambda: _access(request).keys.keys_of(principal.client_id))
    return KeyList(keys=[KeyView.of(info) for info in found])


@router.post("/keys", status_code=201, responses=responses(ScopeMissingError, KeyLimitError, 422, 503))
async def create_key(
    request: Request, context: InContext, principal: Admin, wanted: Annotated[KeyCreate, Body()]
) -> KeyIssued:
    """Make a key. At most two are active at a time. It has the limits of the key that asks."""
    beyond = sorted(set(wanted.scopes) - principal.scopes)
    if beyond:
        raise ScopeMissingError(f"The key lacks the scopes {', '.join(beyond)} itself. Ask for fewer.")
    if reserved := sorted(set(wanted.scopes) & OPERATOR_SCOPES):
        raise ScopeMissingError(f"Only whoever runs the service gives {', '.join(reserved)}. Ask them.")
    keys = _access(request).keys

    def create() -> KeyIssued:
        own = keys.find(principal.client_id, principal.key_id or "")
        spec = KeySpec(
            scopes=frozenset(wanted.scopes),
            rate_limit_per_minute=own.rate_limit_per_minute,
            burst=own.burst,
            ip_allowlist=own.ip_allowlist,
            signing_required=own.signing_required,
            lifetime_seconds=wanted.lifetime_seconds,
        )
        return KeyIssued.of(keys.create(principal.client_id, spec))

    return await context.slots.run(create)


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    responses=responses(ScopeMissingError, KeyNotFoundError, KeyInactiveError, KeyLimitError, 422, 503),
)
async def rotate_key(
    request: Request,
    key_id: KeyId,
    context: InContext,
    principal: Admin,
    how: Annotated[KeyRotate, Body()] = KeyRotate(),  # noqa: B008  frozen
) -> KeyIssued:
    """Make the successor of a key, which may do the same. Then deploy it, and revoke the old one."""
    keys = _access(request).keys

    def rotate() -> KeyIssued:
        old = keys.find(principal.client_id, key_id)
        beyond = sorted(set(old.scopes) - principal.scopes)
        if beyond:
            raise ScopeMissingError(f"That key has the scopes {', '.join(beyond)}, which this one has not.")
        return KeyIssued.of(keys.rotate(principal.client_id, key_id, overlap_seconds=how.overlap_seconds))

    return await context.slots.run(rotate)


@router.delete("/keys/{key_id}", status_code=204, responses=responses(KeyNotFoundError, 422, 503))
async def revoke_key(request: Request, key_id: KeyId, context: InContext, principal: Admin) -> Response:
    """Revoke a key, for good. Every process refuses it, and its tokens, within five seconds."""
    keys = _access(request).keys
    await context.slots.run(lambda: keys.revoke(principal.client_id, key_id))
    return Response(status_code=204)


class _Preflights(CORSMiddleware):
    """Answers preflights before the guard, with the headers that every answer has."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        answer.headers.update(OUTSIDE)
        return answer


def install(app: FastAPI, context: Context) -> None:
    """Add what access needs to the API."""
    app.state.access = Access(context.settings, context.database)
    app.include_router(router)


def guard(app: FastAPI, context: Context, routes: Sequence[BaseRoute]) -> None:
    """Let nobody reach a route without a key. The routes given are only needed to name them."""
    app.add_middleware(Guard, access=app.state.access, routes=routes)
    origins = context.settings.access_cors_origins
    if origins:
        app.add_middleware(
            _Preflights,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
            max_age=600,
        )
