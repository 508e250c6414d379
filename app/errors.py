"""Errors of the service. A class docstring is the default message and ends with what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field of a request; ``field`` is its dotted path."""

    field: str
    message: str


class DcsError(Exception):
    """The service could not do what was asked. Quote the request id when asking for help."""

    status_code: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal-error"
    retry_after_seconds: ClassVar[int | None] = None

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the answer."""
        return {"Retry-After": str(self.retry_after_seconds)} if self.retry_after_seconds else {}


class InvalidRequestError(DcsError):
    """The request is not valid. Correct the fields named in `errors`."""

    status_code = 422
    title = "The request is not valid"
    slug = "invalid-request"

    def __init__(self, *errors: FieldError) -> None:
        super().__init__()
        self.errors = errors


class JobNotFoundError(DcsError):
    """No job has this id. Use the `job_id` that the trigger request returned."""

    status_code = 404
    title = "No such job"
    slug = "job-not-found"


class JobUnfinishedError(DcsError):
    """The job is not finished. Ask for its status until it is, then for its result."""

    status_code = 409
    title = "The job is not finished"
    slug = "job-unfinished"
    retry_after_seconds = 1


class DatabaseUnavailableError(DcsError):
    """The database cannot be reached now, and nothing was stored. Send the request again later."""

    status_code = 503
    title = "The database is unavailable"
    slug = "database-unavailable"
    retry_after_seconds = 1

    def __init__(self, reason: str, *, outcome_unknown: bool = False) -> None:
        super().__init__()
        self.reason = reason
        self.outcome_unknown = outcome_unknown
        """The commit failed: what the transaction wrote may be stored."""


class OverloadedError(DatabaseUnavailableError):
    """More requests wait than can be answered in time, and nothing was stored. Send it again later."""

    title = "The service is busy"
    slug = "overloaded"


class SubmissionUnknownError(DatabaseUnavailableError):
    """It is not known whether the job was stored. Ask for its status before you send the request again."""

    def __init__(self, reason: str, job_id: UUID) -> None:
        super().__init__(reason, outcome_unknown=True)
        self.job_id = job_id


class FencedError(DcsError):
    """Another worker owns this job by now. Drop the work: what it would have written is not wanted."""
