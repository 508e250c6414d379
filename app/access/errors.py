"""What callers are told who may not do what they ask."""

from __future__ import annotations

from app.access.gcra import Decision
from app.access.headers import of_decision
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


class TooManyRequestsError(DcsError):
    """There were too many requests. Wait as long as `Retry-After` says."""

    status_code = 429
    title = "Too many requests"
    slug = "rate-limited"

    def __init__(self, decision: Decision) -> None:
        rate = decision.rate
        super().__init__(
            f"{rate.per_minute} requests a minute are allowed, {rate.burst} of them at once. "
            f"Try again in {decision.retry_after_seconds} s."
        )
        self._decision = decision

    def headers(self) -> dict[str, str]:
        """Say when to come back."""
        rate = self._decision.rate
        told = {name.decode(): value.decode() for name, value in of_decision(self._decision)}
        return told | {
            "Retry-After": str(self._decision.retry_after_seconds),
            "RateLimit-Policy": f"{rate.per_minute};w=60;burst={rate.burst}",
        }


class LimitsUnavailableError(DcsError):
    """Redis is needed for this and does not answer: repeated use could not be told. Try again later."""

    status_code = 503
    title = "Redis is unavailable"
    slug = "limits-unavailable"
    retry_after_seconds = 2


class AddressRefusedError(DcsError):
    """The key may not be used from this address. Ask whoever runs this service to allow it."""

    status_code = 403
    title = "The key may not be used from here"
    slug = "address-refused"


class SignatureInvalidError(DcsError):
    """The request is not signed as its key demands. See the page on signing, and check your clock."""

    status_code = 401
    title = "The signature is not valid"
    slug = "signature-invalid"

    def headers(self) -> dict[str, str]:
        """Say how to authenticate."""
        return super().headers() | {"WWW-Authenticate": 'ApiKey realm="dcs", signature="v1"'}


class BodyTooLargeError(DcsError):
    """The body is too large. Send less at a time."""

    status_code = 413
    title = "The body is too large"
    slug = "body-too-large"

    def headers(self) -> dict[str, str]:
        """Say that the rest of the body will not be read."""
        return super().headers() | {"Connection": "close"}


class UrlTooLongError(DcsError):
    """The URL is too long. Send what is long in a body."""

    status_code = 414
    title = "The URL is too long"
    slug = "url-too-long"


class HeadersTooLargeError(DcsError):
    """The headers are too large. Send fewer cookies and shorter values."""

    status_code = 431
    title = "The headers are too large"
    slug = "headers-too-large"


class TokensUnavailableError(DcsError):
    """No tokens are issued here. Use your API key, or ask whoever runs this to configure token keys."""

    status_code = 404
    title = "There are no tokens here"
    slug = "tokens-unavailable"
