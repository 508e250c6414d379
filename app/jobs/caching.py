"""Answers about jobs that succeeded: they never change, so they are read while the database is away, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from app.cache.cache import Cache, Codec, Lifetime
from app.cache.entry import CacheArea, CacheKey
from app.jobs.schemas import JobResult, JobStatus
from app.models import JobState

AnswerT = TypeVar("AnswerT", JobResult, JobStatus)


def _codec(answer: type[AnswerT], job_id: UUID) -> Codec[AnswerT]:
    def encode(value: AnswerT) -> bytes | None:
        # One that failed may be run again; one that succeeded may not.
        return value.model_dump_json().encode() if value.status is JobState.SUCCEEDED else None

    def decode(body: bytes) -> AnswerT:
        value = answer.model_validate_json(body)
        if value.job_id != job_id or value.status is not JobState.SUCCEEDED:
            raise ValueError("another job's answer")
        return value

    return Codec(encode, decode)


class FinishedJobs:
    """Keeps answers for a time, each for the client that may see it."""

    def __init__(self, cache: Cache, seconds: float) -> None:
        self._cache = cache
        self._lifetime = Lifetime(seconds)

    @property
    def _off(self) -> bool:
        return self._lifetime.fresh_seconds <= 0

    def status(self, job_id: UUID, client_id: str, load: Callable[[], JobStatus]) -> JobStatus:
        """Return the status. Who asks often asks about a job that runs: nobody waits for another here."""
        if self._off:
            return load()
        key = CacheKey(CacheArea.STATUS, client_id, (str(job_id),))
        codec = _codec(JobStatus, job_id)
        kept = self._cache.read(key, codec)
        if kept is not None:
            return kept
        value = load()
        body = codec.encode(value)
        if body is not None:
            self._cache.put(key, body, self._lifetime)
        return value

    def result(
        self, job_id: UUID, client_id: str, page: tuple[int, int], load: Callable[[], JobResult]
    ) -> JobResult:
        """Return the page of the result that begins after ``page[0]`` and has at most ``page[1]`` records."""
        if self._off:
            return load()
        key = CacheKey(CacheArea.RESULT, client_id, (str(job_id), *map(str, page)))
        return self._cache.get_or_load(key, load, _codec(JobResult, job_id), self._lifetime)
