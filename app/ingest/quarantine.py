"""Puts a copy of an unfit file aside, with why, where whoever delivers it can look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from app.ingest.layout import quarantine_key
from app.ingest.repository import LedgerFile
from app.jobs.handlers import Attempt, Effect, JobError
from app.jobs.ids import new_job_id
from app.jobs.repository import ClaimedJob, JobRepository, NewJob
from app.objectstore import ObjectChangedError, ObjectGoneError, ObjectStoreError
from app.objectstore.client import ObjectStore

KIND_QUARANTINE = "ingest_quarantine"
METADATA_CHARACTERS_MAX = 500

_COPIED = text(
    "UPDATE ingest_files SET quarantine_key = :quarantine_key, updated_at = now()"
    " WHERE id = :id AND state = 'quarantined'"
)


def request_copy(
    connection: Connection, cause: ClaimedJob, file: LedgerFile, error: Mapping[str, str]
) -> None:
    """Make the job that copies, in the transaction that enters the file as quarantined."""
    config = {"file_id": file.id, "key": file.key, "version": file.version, "error": dict(error)}
    JobRepository(connection).insert(
        NewJob(
            new_job_id(),
            KIND_QUARANTINE,
            cause.client_id,
            config,
            cause.max_attempts,
            request_id=cause.request_id,
            trace_context=cause.trace_context,
        )
    )


@dataclass(frozen=True)
class _Copied:
    file_id: int
    quarantine_key: str | None
    record_count: int | None = 0

    def apply(self, connection: Connection, job: ClaimedJob) -> int:  # noqa: ARG002  the port's signature
        connection.execute(_COPIED, {"id": self.file_id, "quarantine_key": self.quarantine_key})
        return 0


class QuarantineHandler:
    """Copies within the bucket. Doing it twice makes the same copy."""

    concurrency_max: int | None = 1

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def run(self, attempt: Attempt) -> Effect:
        """Copy. Raises ``JobError``."""
        config = attempt.job.config
        target = quarantine_key(config["key"], config["version"])
        try:
            self._store.copy(
                config["key"], config["version"], target, _metadata(config["error"], attempt.job.id)
            )
        except (ObjectGoneError, ObjectChangedError):
            return _Copied(config["file_id"], None)  # there is nothing left to look at
        except ObjectStoreError as exc:
            raise JobError(exc.reason, str(exc), retryable=exc.retryable) from exc
        return _Copied(config["file_id"], target)


def _metadata(error: Mapping[str, str], job_id: UUID) -> dict[str, str]:
    # Metadata travels in headers.
    message = "".join(c if c.isascii() and c.isprintable() else "?" for c in error["message"])
    return {
        "dcs-reason": error["reason"],
        "dcs-message": message[:METADATA_CHARACTERS_MAX],
        "dcs-job": str(job_id),
    }
