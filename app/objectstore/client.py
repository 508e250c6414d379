"""An S3 client that ends in time, verifies what it gets, and tells of every call.

The endpoint is the operator's, never a client's; keys only ever become a path below the bucket. botocore
follows no redirect to a host it was not configured with, and takes no proxy from the environment.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from app.objectstore import ObjectStoreError, Page, StoredObject
from app.telemetry.metrics import ingest as metrics
from app.telemetry.tracing import Span, SpanKind

if TYPE_CHECKING:
    from app.settings import Settings

CHUNK_BYTES = 256 * 1024
LIST_PAGE_MAX = 1000
_MD5_HEX_DIGITS = 32

log = structlog.get_logger()


@dataclass(frozen=True)
class StoreTarget:
    """Where a store is, and who we are there. Times in seconds."""

    endpoint: str | None
    region: str
    bucket: str
    access_key_file: Path | None
    secret_key_file: Path | None
    connect_timeout_seconds: float
    read_timeout_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> StoreTarget | None:
        """Return what the settings name, or None when they name no bucket."""
        if settings.ingest_bucket is None:
            return None
        return cls(
            endpoint=str(settings.s3_endpoint) if settings.s3_endpoint else None,
            region=settings.s3_region,
            bucket=settings.ingest_bucket,
            access_key_file=settings.s3_access_key_file,
            secret_key_file=settings.s3_secret_key_file,
            connect_timeout_seconds=settings.s3_connect_timeout_seconds,
            read_timeout_seconds=settings.s3_read_timeout_seconds,
        )


def _secret(path: Path | None) -> str | None:
    return path.read_text("utf-8").strip() if path else None


# One for each store of this process: making one takes long, and each keeps connections.
_made: dict[StoreTarget, Any] = {}


def close_clients() -> None:
    """Close the connections to every store."""
    while _made:
        _made.popitem()[1].close()


def _make(target: StoreTarget) -> Any:
    # 15 MiB and 0.3 s: only the processes that call the store pay for it.
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=target.connect_timeout_seconds,
        read_timeout=target.read_timeout_seconds,
        retries={
            "total_max_attempts": 1
        },  # jobs are retried; a call that tries again hides how long it takes
        s3={"addressing_style": "path"},
        proxies={},
        max_pool_connections=4,
        tcp_keepalive=True,
        response_checksum_validation="when_supported",
    )
    return botocore.session.Session().create_client(
        "s3",
        region_name=target.region,
        endpoint_url=target.endpoint,
        aws_access_key_id=_secret(target.access_key_file),
        aws_secret_access_key=_secret(target.secret_key_file),
        config=config,
    )


@dataclass
class _Call:
    status: int | None = None
    bytes: int = 0
    outcome: str = "ok"
    reason: str | None = None

    def answered(self, answer: object) -> None:
        """Take note of what the store said, good or bad, if it said anything."""
        if isinstance(answer, dict):
            self.status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")


class ObjectStore:
    """One bucket. Made when first used; safe for threads."""

    def __init__(self, target: StoreTarget) -> None:
        self._target = target

    @property
    def bucket(self) -> str:
        """Its name."""
        return self._target.bucket

    @property
    def _client(self) -> Any:
        if self._target not in _made:
            _made[self._target] = _make(self._target)  # twice by two threads is harmless
        return _made[self._target]

    def page(self, prefix: str, *, token: str | None = None, delimiter: str | None = None) -> Page:
        """Return up to ``LIST_PAGE_MAX`` objects below a prefix, in the order of their keys."""
        arguments: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix, "MaxKeys": LIST_PAGE_MAX}
        if token is not None:
            arguments["ContinuationToken"] = token
        if delimiter is not None:
            arguments["Delimiter"] = delimiter
        with self._call("list", prefix) as call:
            answer = self._client.list_objects_v2(**arguments)
            call.answered(answer)
        objects = tuple(
            StoredObject(one["Key"], one["ETag"].strip('"'), one["Size"], one["LastModified"])
            for one in answer.get("Contents", ())
        )
        prefixes = tuple(one["Prefix"] for one in answer.get("CommonPrefixes", ()))
        return Page(objects, prefixes, answer.get("NextContinuationToken") or None)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Return every object below a prefix, a page at a time."""
        token = None
        while True:
            page = self.page(prefix, token=token)
            yield from page.objects
            token = page.next_token
            if token is None:
                return

    def prefixes(self) -> Iterator[str]:
        """Return the first components of all keys, without their slash."""
        token = None
        while True:
            page = self.page("", token=token, delimiter="/")
            yield from (prefix.rstrip("/") for prefix in page.prefixes)
            token = page.next_token
            if token is None:
                return

    def head(self, key: str) -> StoredObject:
        """Return what is stored under a key now. Raises ``ObjectGoneError``."""
        with self._call("head", key) as call:
            answer = self._client.head_object(Bucket=self.bucket, Key=key)
            call.answered(answer)
        return StoredObject(key, answer["ETag"].strip('"'), answer["ContentLength"], answer["LastModified"])

    def fetch(
        self, key: str, version: str, take: Callable[[bytes], object], *, bytes_max: int
    ) -> StoredObject:
        """Hand the object to ``take``, a chunk at a time, if it still is this version.

        Raises:
            ObjectGoneError: There is none.
            ObjectChangedError: There is another version.
            ObjectStoreError: It could not be had; ``truncated`` and ``corrupt`` say that what came is not
                what the store has, ``too_large`` that it is larger than ``bytes_max``.

        """
        digest = hashlib.md5(usedforsecurity=False)
        with self._call("get", key) as call:
            answer = self._client.get_object(
                Bucket=self.bucket, Key=key, IfMatch=f'"{version}"', ChecksumMode="ENABLED"
            )
            call.answered(answer)
            size: int = answer["ContentLength"]
            body = answer["Body"]
            try:
                if size > bytes_max:
                    message = f"{key} has {size} bytes, more than {bytes_max}"
                    raise ObjectStoreError("too_large", message, retryable=False)
                while chunk := body.read(CHUNK_BYTES):
                    call.bytes += len(chunk)
                    digest.update(chunk)
                    take(chunk)
            finally:
                body.close()
            found = answer["ETag"].strip('"')
            if call.bytes != size:
                raise ObjectStoreError("truncated", f"{key} ended after {call.bytes} of {size} bytes")
            encrypted = "kms" in answer.get("ServerSideEncryption", "")  # then the ETag is no digest
            if len(found) == _MD5_HEX_DIGITS and not encrypted and digest.hexdigest() != found:
                raise ObjectStoreError("corrupt", f"{key} does not have the digest that the store tells")
        return StoredObject(key, found, size, answer["LastModified"])

    def copy(self, key: str, version: str, to: str, metadata: Mapping[str, str]) -> None:
        """Copy an object within the bucket if it still is this version."""
        with self._call("copy", key) as call:
            answer = self._client.copy_object(
                Bucket=self.bucket,
                Key=to,
                CopySource={"Bucket": self.bucket, "Key": key},
                CopySourceIfMatch=f'"{version}"',
                Metadata=dict(metadata),
                MetadataDirective="REPLACE",
            )
            call.answered(answer)

    @contextmanager
    def _call(self, operation: str, target: str) -> Iterator[_Call]:
        """Count, time and log one call; turn every failure into an ``ObjectStoreError``."""
        from app.objectstore.failures import FAILURES, outcome_of, translated  # noqa: PLC0415  botocore

        call, started = _Call(), time.monotonic()
        with Span(f"s3 {operation}", SpanKind.CLIENT) as span:
            span.set("aws.s3.bucket", self.bucket)
            span.set("aws.s3.key", target)
            try:
                yield call
            except ObjectStoreError as exc:
                call.reason, call.outcome = exc.reason, outcome_of(exc)
                raise
            except FAILURES as exc:
                call.answered(getattr(exc, "response", None))
                error = translated(exc, target)
                call.reason, call.outcome = error.reason, outcome_of(error)
                raise error from exc
            except BaseException:
                call.reason, call.outcome = "unexpected", "error"
                raise
            finally:
                self._tell(operation, target, call, time.monotonic() - started)

    @staticmethod
    def _tell(operation: str, target: str, call: _Call, seconds: float) -> None:
        metrics.S3_REQUESTS.labels(operation, call.outcome).inc()
        metrics.S3_DURATION.labels(operation).observe(seconds)
        metrics.S3_BYTES.inc(call.bytes)
        write = log.warning if call.outcome in ("refused", "timeout", "error") else log.info
        write(
            "object_store_called",
            operation=operation,
            target=target,
            outcome=call.outcome,
            reason=call.reason,
            status=call.status,
            bytes=call.bytes,
            duration_ms=round(seconds * 1000, 2),
        )
