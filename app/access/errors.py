"""What callers are told who may not do what they ask."""

from __future__ import annotations

from app.errors import DcsError


class CredentialMissingError(DcsError):
    """No key was sent. Send an API key in the header `X-API-Key`, or a token as `Authorization: Bearer`."""

    status_code = 401
    title = "A key is needed"
    slug = "credential-missing"

    def headers(self) -> dict[str, str]:
        """Say how to authenticate."""
        return super().headers() | {"WWW-Authenticate": 'ApiKey realm="dcs", Bearer realm="dcs"'}


class CredentialInvalidError(DcsError):
    """The key or token is not valid. Ask whoever runs this service for a new one."""

    status_code = 401
    title = "The key is not valid"
    slug = "credential-invalid"

    def headers(self) -> dict[str, str]:
        """Say how to authenticate."""
        challenge = 'ApiKey realm="dcs", Bearer realm="dcs", error="invalid_token"'
        return super().headers() | {"WWW-Authenticate": challenge}


class ScopeMissingError(DcsError):
    """The key does not allow this. Use one that has the scope named here."""

    status_code = 403
    title = "The key does not allow this"
    slug = "scope-missing"


class ClientNotFoundError(DcsError):
    """No client has this id. Create it with `python -m app.access.cli client create ID`."""

    status_code = 404
    title = "No such client"
    slug = "client-not-found"


class KeyNotFoundError(DcsError):
    """No key of yours has this id. List your keys to see them."""

    status_code = 404
    title = "No such key"
    slug = "key-not-found"


class KeyLimitError(DcsError):
    """The client has two active keys, which is what a rotation needs. Revoke one first."""

    status_code = 409
    title = "Two keys are active"
    slug = "key-limit"


class KeyInactiveError(DcsError):
    """The key is revoked or expired and cannot be rotated. Create a new one."""

    status_code = 409
    title = "The key is not active"
    slug = "key-inactive"
