"""Finds out who sent a request, and whether they may use their key like that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from app.access import signing
from app.access.address import TrustedProxies, bucket, within
from app.access.directory import KeyDirectory
from app.access.errors import (
    AddressRefusedError,
    CredentialInvalidError,
    CredentialMissingError,
    SignatureInvalidError,
)
from app.access.keys import Key, PepperMissingError, Peppers
from app.access.limits import Limits
from app.access.principal import Principal
from app.access.tokens import Tokens
from app.errors import DcsError
from app.telemetry.metrics import access as metrics

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.access.body import BodyLimit
    from app.access.repository import KeyRecord

log = structlog.get_logger()


@dataclass(frozen=True)
class Authentication:
    """Who sent a request, by which key."""

    principal: Principal
    record: KeyRecord


class Authenticator:
    """Recognises callers by key or token."""

    def __init__(
        self,
        *,
        directory: KeyDirectory,
        peppers: Peppers,
        tokens: Tokens,
        limits: Limits,
        proxies: TrustedProxies,
    ) -> None:
        self._directory = directory
        self._peppers = peppers
        self._tokens = tokens
        self._limits = limits
        self._proxies = proxies

    async def recognise(self, scope: Scope) -> Authentication:
        """Return who sent a request.

        Raises:
            CredentialMissingError: Nobody said.
            CredentialInvalidError: Who said so is not believed.
            TooManyRequestsError: This address was not believed too often.
            DatabaseUnavailableError: It cannot be known now.

        """
        keys = [value for name, value in scope["headers"] if name == b"x-api-key"]
        bearers = [value for name, value in scope["headers"] if name == b"authorization"]
        if not keys and not bearers:
            await self._limits.take_anonymous(bucket(self._proxies.client(scope)))
            raise refused("missing", CredentialMissingError())
        try:
            if len(keys) + len(bearers) > 1:
                raise refused("malformed", CredentialInvalidError("Send one key or one token, not several."))
            if keys:
                return await self._by_key(keys[0].decode("latin-1"), scope)
            return await self._by_token(bearers[0].decode("latin-1"), scope)
        except CredentialInvalidError:
            await self._limits.take_failure(bucket(self._proxies.client(scope)))
            raise

    async def check_use(self, found: Authentication, scope: Scope, body: BodyLimit) -> None:
        """Refuse what the key's owner ruled out: other networks, requests that are not signed.

        Raises:
            AddressRefusedError: The key may not be used from there.
            SignatureInvalidError: It demands a signature, and this is none.
            LimitsUnavailableError: It cannot be known whether the request is a repetition.

        """
        record = found.record
        if record.networks and not within(self._proxies.client(scope), record.networks):
            raise refused("address", AddressRefusedError())
        if record.signing_required:
            await self._check_signature(record, scope, body)

    async def _by_key(self, text: str, scope: Scope) -> Authentication:
        key = Key.parse(text)
        if key is None:
            raise refused("malformed", CredentialInvalidError())
        record = await self._find(key.key_id, scope)
        if record is None or not self._proves(key, record):
            raise refused("unknown", CredentialInvalidError())
        # Only who has proven to hold the key is told what became of it.
        _require_active(record, "key")
        self._note_use(record)
        return Authentication(Principal(record.client_id, record.scopes, record.key_id), record)

    async def _by_token(self, header: str, scope: Scope) -> Authentication:
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer":
            raise refused("malformed", CredentialInvalidError("Send `Authorization: Bearer` and a token."))
        try:
            claims = self._tokens.read(token.strip())
        except CredentialInvalidError as exc:
            raise refused("token", exc) from exc
        record = await self._find(claims.key_id, scope)
        if record is None or record.client_id != claims.client_id:
            raise refused("unknown", CredentialInvalidError())
        _require_active(record, "token's key")
        self._note_use(record)
        scopes = claims.scopes & record.scopes
        return Authentication(Principal(record.client_id, scopes, record.key_id, by_token=True), record)

    async def _find(self, key_id: str, scope: Scope) -> KeyRecord | None:
        if not self._directory.knows(key_id):
            # An address that only guesses does not reach the database.
            self._limits.check_not_blocked(bucket(self._proxies.client(scope)))
        return await self._directory.find(key_id)

    def _proves(self, key: Key, record: KeyRecord) -> bool:
        try:
            return self._peppers.matches(key, record.secret_hash)
        except PepperMissingError:
            log.error("access_pepper_missing", key_id=key.key_id)  # noqa: TRY400  no traceback: it is a setting
            return False

    def _note_use(self, record: KeyRecord) -> None:
        if record.use_unnoted:
            self._directory.note_use(record.key_id)

    async def _check_signature(self, record: KeyRecord, scope: Scope, body: BodyLimit) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            signed = signing.parts(headers)
            secret = self._peppers.signing_secret(record.key_id, record.secret_hash)
            target = scope["raw_path"].decode("latin-1")
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode("latin-1")
            content = await body.whole()
            signing.check(signed, secret, method=scope["method"], target=target, body=content)
        except SignatureInvalidError as exc:
            raise refused("signature", exc) from exc
        except PepperMissingError:
            log.error("access_pepper_missing", key_id=record.key_id)  # noqa: TRY400
            raise refused("signature", SignatureInvalidError()) from None
        nonce = f"{record.key_id}:{signed.nonce}".encode()
        if not await self._limits.use_nonce(nonce, seconds=signing.NONCE_SECONDS):
            repeated = SignatureInvalidError("This nonce was used before. Take a new one for each request.")
            raise refused("replay", repeated)


def refused(reason: str, error: DcsError) -> DcsError:
    """Count a refusal and return its error."""
    metrics.REFUSED.labels(reason).inc()
    return error


def _require_active(record: KeyRecord, what: str) -> None:
    if record.revoked:
        raise refused("revoked", CredentialInvalidError(f"The {what} was revoked. Use its successor."))
    if record.expired:
        raise refused("expired", CredentialInvalidError(f"The {what} has expired. Use its successor."))
