"""Tokens: a key's rights, or fewer, for minutes. Bound to the key, they end with it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from app.access.errors import CredentialInvalidError, TokensUnavailableError
from app.access.keys import KEY_ID_PATTERN
from app.access.principal import Scope
from app.access.settings import AccessSettings

ALGORITHM: Final = "HS256"
"""The only one, to sign and to check. What a token says of its algorithm decides nothing."""
TYPE: Final = "at+jwt"
ISSUER: Final = "dcs"
AUDIENCE: Final = "dcs-api"
LENGTH_MAX: Final = 2048
LIFETIME_SECONDS_LIMIT: Final = 3600
LEEWAY_SECONDS: Final = 5
SECRET_BYTES_MIN: Final = 32
REQUIRED: Final = ["exp", "iat", "nbf", "iss", "aud", "sub", "jti", "key", "scope"]


@dataclass(frozen=True)
class TokenClaims:
    """What a valid token says."""

    client_id: str
    key_id: str
    scopes: frozenset[Scope]


class Tokens:
    """Signs tokens with one secret and believes those of several, so that secrets can be changed."""

    def __init__(self, settings: AccessSettings) -> None:
        self._secrets = {
            key_id: _secret(path.read_text()) for key_id, path in settings.access_token_keys.items()
        }
        self._current = settings.access_token_key
        self.lifetime_seconds_max = settings.access_token_seconds

    def issue(self, *, client_id: str, key_id: str, scopes: Iterable[Scope], lifetime_seconds: int) -> str:
        """Return a new token. Raises ``TokensUnavailableError`` if no secret is configured."""
        import jwt  # noqa: PLC0415  a process that sees no token need not hold it

        if self._current is None:
            raise TokensUnavailableError
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": client_id,
            "key": key_id,
            "scope": " ".join(sorted(scopes)),
            "iat": now,
            "nbf": now,
            "exp": now + min(lifetime_seconds, self.lifetime_seconds_max),
            "jti": uuid.uuid4().hex,
        }
        secret = self._secrets[self._current]
        return jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"typ": TYPE, "kid": self._current})

    def read(self, token: str) -> TokenClaims:
        """Return what a token says. Raises ``CredentialInvalidError`` for all but a valid one."""
        import jwt  # noqa: PLC0415

        if len(token) > LENGTH_MAX:
            raise CredentialInvalidError
        try:
            header = jwt.get_unverified_header(token)
            # The id only chooses among secrets that are configured: it is no path and no query.
            kid = header.get("kid")
            secret = self._secrets.get(kid) if isinstance(kid, str) else None
            if secret is None or header.get("typ") != TYPE or header.get("alg") != ALGORITHM:
                raise CredentialInvalidError
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED},
            )
        except jwt.ExpiredSignatureError as exc:
            raise CredentialInvalidError("The token has expired. Ask for a new one.") from exc
        except (jwt.PyJWTError, ValueError) as exc:
            raise CredentialInvalidError from exc
        # The library takes "1" and 1.5 for times, too. `bool` is an `int` to Python, not here.
        if not all(type(claims[name]) is int for name in ("exp", "iat", "nbf")):
            raise CredentialInvalidError
        if not 0 < claims["exp"] - claims["iat"] <= LIFETIME_SECONDS_LIMIT:
            raise CredentialInvalidError
        if not all(isinstance(claims[name], str) for name in ("sub", "key", "scope", "jti")):
            raise CredentialInvalidError
        if not _KEY_ID.fullmatch(claims["key"]):
            raise CredentialInvalidError
        scopes = frozenset(Scope(one) for one in claims["scope"].split() if one in _SCOPES)
        return TokenClaims(claims["sub"], claims["key"], scopes)


_SCOPES = frozenset(Scope)
_KEY_ID = re.compile(KEY_ID_PATTERN)


def _secret(text: str) -> bytes:
    secret = text.strip().encode()
    if len(secret) < SECRET_BYTES_MIN:
        msg = f"a token key has at least {SECRET_BYTES_MIN} characters"
        raise ValueError(msg)
    return secret
