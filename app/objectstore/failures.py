"""What failures of botocore and urllib3 mean. Imported only where a store is called."""

from __future__ import annotations

from botocore import exceptions as botocore
from urllib3 import exceptions as urllib3

from app.objectstore import ObjectChangedError, ObjectGoneError, ObjectStoreError

FAILURES = (botocore.BotoCoreError, botocore.ClientError, urllib3.HTTPError)
"""All that a call may raise."""

_THROTTLED = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"})
_GONE = frozenset({"404", "NoSuchKey", "NotFound"})
_CHANGED = frozenset({"412", "PreconditionFailed"})
_TOO_MANY_REQUESTS = 429

# The first that fits counts.
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (botocore.FlexibleChecksumError,),
        "corrupt",
        "the object does not have the checksum that the store tells",
    ),
    (
        (botocore.ResponseStreamingError, botocore.IncompleteReadError, urllib3.ProtocolError),
        "truncated",
        "the object ended early",
    ),
    (
        (botocore.ConnectTimeoutError, botocore.ReadTimeoutError, urllib3.TimeoutError),
        "timeout",
        "the store did not answer in time",
    ),
    ((botocore.EndpointConnectionError,), "refused", "the store cannot be reached"),
    ((botocore.ConnectionClosedError, botocore.HTTPClientError), "connection_lost", "the store hung up"),
    (
        (botocore.NoCredentialsError,),
        "no_credentials",
        "set DCS_S3_ACCESS_KEY_FILE and DCS_S3_SECRET_KEY_FILE",
    ),
)


def outcome_of(error: ObjectStoreError) -> str:
    """Return the label of ``dcs_s3_requests_total``."""
    if isinstance(error, ObjectGoneError):
        return "gone"
    if isinstance(error, ObjectChangedError):
        return "changed"
    return error.reason if error.reason in ("refused", "timeout") else "error"


def translated(exc: Exception, target: str) -> ObjectStoreError:
    """Return what a failure means to whoever asked."""
    if isinstance(exc, botocore.ClientError):
        return _answered(exc, target)
    for kinds, reason, meaning in _MEANINGS:
        if isinstance(exc, kinds):
            return ObjectStoreError(reason, f"{target}: {meaning}: {exc}")
    return ObjectStoreError("unexpected", f"{target}: {exc!r}")


def _answered(exc: botocore.ClientError, target: str) -> ObjectStoreError:
    error, about = exc.response.get("Error", {}), exc.response.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "")), about.get("HTTPStatusCode", 0)
    if code in _GONE:
        return ObjectGoneError("gone", f"there is no {target}", retryable=False)
    if code in _CHANGED:
        return ObjectChangedError("changed", f"{target} is of another version by now", retryable=False)
    message = f"{target}: the store answered {status} {code}: {str(error.get('Message', ''))[:500]}"
    if code in _THROTTLED or status == _TOO_MANY_REQUESTS:
        asked = about.get("HTTPHeaders", {}).get("retry-after", "")
        seconds = float(asked) if asked.isdecimal() else None
        return ObjectStoreError("throttled", message, retry_after_seconds=seconds)
    # Wrong keys and missing rights, too: an operator corrects them, and until then every file would die.
    return ObjectStoreError(f"http_{status}" if status else "error", message)
