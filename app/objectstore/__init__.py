"""S3-compatible object stores: the port, and what goes wrong there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


class ObjectStoreError(Exception):
    """The store did not do what was asked. ``retryable``: trying again later may help."""

    def __init__(
        self, reason: str, message: str, *, retryable: bool = True, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class ObjectGoneError(ObjectStoreError):
    """There is no such object."""


class ObjectChangedError(ObjectStoreError):
    """The object is there, in another version than the one asked for."""


@dataclass(frozen=True)
class StoredObject:
    """One object as the store tells of it. ``version`` is its ETag, without quotes."""

    key: str
    version: str
    size: int
    modified_at: datetime


@dataclass(frozen=True)
class Page:
    """A page of a listing; ``next_token`` gets the next one."""

    objects: tuple[StoredObject, ...]
    prefixes: tuple[str, ...]
    next_token: str | None
