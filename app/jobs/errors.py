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
