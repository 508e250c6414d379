"""Where a page of a list ended: opaque to clients, and checked when it comes back."""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.errors import FieldError, InvalidRequestError

_DIGEST_BYTES = 8
_TIME_BYTES = 8
_LENGTH = _DIGEST_BYTES + _TIME_BYTES + 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _digest(filters: str) -> bytes:
    return hashlib.sha256(filters.encode()).digest()[:_DIGEST_BYTES]


def encode(created_at: datetime, job_id: UUID, *, filters: str) -> str:
    """Return a cursor that fits only the same filters."""
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    body = _digest(filters) + microseconds.to_bytes(_TIME_BYTES) + job_id.bytes
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def decode(cursor: str, *, filters: str) -> tuple[datetime, UUID]:
    """Return where the page before ended. Raises ``InvalidRequestError``."""
    try:
        body = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        begins = body[_DIGEST_BYTES:-16]
        created_at = _EPOCH + timedelta(microseconds=int.from_bytes(begins))
        job_id = UUID(bytes=body[-16:])
    except (binascii.Error, ValueError, OverflowError) as exc:
        raise _refusal("it is not one that the service gave") from exc
    if len(body) != _LENGTH:
        raise _refusal("it is not one that the service gave")
    if body[:_DIGEST_BYTES] != _digest(filters):
        raise _refusal("it is of a list with other filters")
    return created_at, job_id


def _refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(FieldError("cursor", message))
