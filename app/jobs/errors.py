"""Errors of the ``jobs`` slice."""

from __future__ import annotations

from app.errors import DcsError, FencedError


class JobCancelledError(FencedError):
    """The client has cancelled this job. Drop the work, and end the job as cancelled."""


class IdempotencyKeyReusedError(DcsError):
    """The Idempotency-Key stands for another request. Use a new key for each new request."""

    status_code = 409
    title = "The idempotency key was used for another request"
    slug = "idempotency-key-reused"


class QueueFullError(DcsError):
    """Too many of your jobs are waiting. Wait until some have run, or cancel some, then send it again."""

    status_code = 429
    title = "The queue is full"
    slug = "queue-full"
    retry_after_seconds = 30


class JobFinishedError(DcsError):
    """The job is finished, so there is nothing to cancel. Ask for its result."""

    status_code = 409
    title = "The job is finished"
    slug = "job-finished"


class JobNotReplayableError(DcsError):
    """Only a dead or failed job can be replayed. Ask for its status; trigger a new job to collect again."""

    status_code = 409
    title = "The job cannot be replayed"
    slug = "job-not-replayable"


class TooManyColumnsError(DcsError):
    """The records have too many different fields for CSV. Ask for `application/x-ndjson` instead."""

    status_code = 409
    title = "The records do not fit a table"
    slug = "too-many-columns"


class TooManyStreamsError(DcsError):
    """You have as many event streams open as you may. Close one, or ask for the job's status instead."""

    status_code = 429
    title = "Too many event streams"
    slug = "too-many-streams"
    retry_after_seconds = 5


class StreamsBusyError(DcsError):
    """As many event streams are open here as can be served. Try again, or ask for the job's status."""

    status_code = 503
    title = "No event stream is free"
    slug = "streams-busy"
    retry_after_seconds = 5
