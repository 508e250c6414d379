"""The ``s3`` source: CSV, JSON Lines and zips of them below the client's own prefix of the bucket."""

from __future__ import annotations

import zlib
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.objectstore import ObjectChangedError, ObjectGoneError, ObjectStoreError, StoredObject
from app.objectstore.client import ObjectStore
from app.progress import UNWATCHED, Progress
from app.sources import (
    BYTES_MAX,
    RECORDS_MAX,
    Record,
    SourceError,
    SourceRefusedError,
    SourceType,
    source_call,
    too_much,
)
from app.sources.budget import Budget
from app.sources.file import parsed, unzipped
from app.wire import exactly_one

OBJECTS_MAX = 100
COLLECT_SECONDS_MAX = 60.0
KEY_PATTERN = r"^[^\x00-\x1f\x7f]+$"
_SUFFIXES = (".csv", ".jsonl", ".zip", ".csv.gz", ".jsonl.gz")
_EVENT = "source_path_refused"
_GZIP = 16 + zlib.MAX_WBITS


class S3Config(BaseModel):
    """Which objects to read: one by its key, or all below a prefix."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            **exactly_one(("key",), ("prefix",)),
            "examples": [{"key": "2026-11-21/findings.csv"}],
        },
    )

    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=900,
        pattern=KEY_PATTERN,
        description="Key of a .csv, .jsonl (both also .gz) or .zip object, below your own prefix.",
        examples=["2026-11-21/findings.csv"],
    )
    prefix: str | None = Field(
        default=None,
        min_length=1,
        max_length=900,
        pattern=KEY_PATTERN,
        description=f"All such objects below this prefix of yours, at most {OBJECTS_MAX}.",
        examples=["2026-11-21/"],
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.key is None) == (self.prefix is None):
            msg = "give either key or prefix"
            raise ValueError(msg)
        return self


class S3Source:
    """Reads with the service's credentials, so it is this code that keeps clients apart."""

    def __init__(self, store: ObjectStore | None, *, seconds_max: float = COLLECT_SECONDS_MAX) -> None:
        self._store = store
        self._seconds_max = seconds_max

    def check(self, config: S3Config, *, client_id: str = "") -> None:  # noqa: ARG002  each has its prefix
        """Refuse what is no such object. The store is not asked."""
        if self._store is None:
            raise _refused("key" if config.key else "prefix", "no object store is configured")
        if config.key is not None and not config.key.endswith(_SUFFIXES):
            raise _refused("key", f"must end in {' or '.join(_SUFFIXES)}")

    def collect(self, config: S3Config, *, client_id: str, progress: Progress = UNWATCHED) -> list[Record]:
        """Return the rows of the objects, in the order of their keys."""
        self.check(config)
        store = self._store
        assert store is not None  # noqa: S101  checked
        own = f"{client_id}/"
        with source_call(SourceType.S3, own + (config.key or config.prefix or "")) as call:
            try:
                records = _rows(store, own, config, Budget(self._seconds_max, BYTES_MAX, progress))
            except ObjectStoreError as exc:
                raise _failed(exc) from exc
            call.records = len(records)
            return records


def _rows(store: ObjectStore, own: str, config: S3Config, budget: Budget) -> list[Record]:
    budget.check_time()
    if config.key is not None:
        objects = [store.head(own + config.key)]
    else:
        page = store.page(own + (config.prefix or ""))
        objects = [one for one in page.objects if one.key.endswith(_SUFFIXES)]
        if len(objects) > OBJECTS_MAX or page.next_token is not None:
            raise too_much(f"{OBJECTS_MAX} objects")
    records: list[Record] = []
    left_bytes = BYTES_MAX
    for number, stored in enumerate(objects, start=1):
        content = _content(store, stored, left_bytes, budget)
        left_bytes -= len(content)
        if stored.key.endswith(".zip"):
            records += unzipped(content, stored.key)
        else:
            records += parsed(stored.key.removesuffix(".gz"), content)
        if len(records) > RECORDS_MAX:
            raise too_much(f"{RECORDS_MAX} rows")
        budget.progress.report(number, len(objects))
    return records


def _content(store: ObjectStore, stored: StoredObject, bytes_max: int, budget: Budget) -> bytes:
    if stored.size > bytes_max:
        raise too_much(f"{BYTES_MAX} bytes")
    budget.check_time()
    received = bytearray()

    def take(chunk: bytes) -> None:
        budget.check_time()
        received.extend(chunk)

    store.fetch(stored.key, stored.version, take, bytes_max=bytes_max)
    if not stored.key.endswith(".gz"):
        return bytes(received)
    gunzip = zlib.decompressobj(_GZIP)
    try:
        content = gunzip.decompress(bytes(received), bytes_max + 1)
    except zlib.error as exc:
        raise SourceError("malformed", f"{stored.key} cannot be gunzipped: {exc}", retryable=False) from exc
    if len(content) > bytes_max:
        raise too_much(f"{BYTES_MAX} bytes")
    if not gunzip.eof or gunzip.unused_data:
        raise SourceError("malformed", f"{stored.key} is not one whole gzip stream", retryable=False)
    return content


def _refused(field: str, message: str) -> SourceRefusedError:
    return SourceRefusedError(field, message, event=_EVENT)


def _failed(exc: ObjectStoreError) -> SourceError:
    if isinstance(exc, ObjectGoneError):
        return SourceError("not_found", str(exc), retryable=False)
    if isinstance(exc, ObjectChangedError):  # replaced between the look and the read
        return SourceError("changed", str(exc), retryable=True)
    return SourceError(
        exc.reason,
        str(exc),
        retryable=exc.retryable,
        outcome=exc.reason if exc.reason in ("refused", "timeout") else "error",
        retry_after_seconds=exc.retry_after_seconds,
        upstream_failed=exc.retryable,
    )
