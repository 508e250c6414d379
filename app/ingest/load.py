"""Loading a file: staged by COPY, checked, merged, and entered in the ledger in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import sqlalchemy
import structlog
from psycopg2 import errors
from sqlalchemy import Connection

from app.database.deadline import DeadlineConnection
from app.ingest.layout import Place
from app.ingest.merge import Merge
from app.ingest.quarantine import request_copy
from app.ingest.repository import Current, LedgerFile, LedgerRepository
from app.ingest.shapes import Shape
from app.ingest.spool import Spool, UnfitError
from app.ingest.staging import UNREADABLE, Staging
from app.jobs.handlers import JobError
from app.jobs.repository import ClaimedJob
from app.models import FileState
from app.telemetry.metrics import ingest as metrics

LOCK_TIMEOUT_MS = 10_000
SORT_MEMORY = "32MB"

log = structlog.get_logger()


@dataclass(frozen=True)
class Limits:
    """What a load may take, and how many bad rows a file may have."""

    deadline_seconds: float
    rejected_fraction_max: float


@dataclass
class _Outcome:
    state: FileState
    rows: int = 0
    rejected: int = 0
    error: Mapping[str, str] | None = None


@dataclass
class LoadFile:
    """The effect of an ``ingest_file`` job. May be applied again after a commit that failed."""

    file: LedgerFile
    place: Place
    bucket: str
    spool: Spool
    shape: Shape
    body_at: int
    width: int
    current: Current
    limits: Limits
    check: Callable[[], None]
    ended: _Outcome | None = field(default=None, init=False)

    record_count: int | None = field(default=None, init=False)

    def apply(self, connection: Connection, job: ClaimedJob) -> int:
        """Load. Return how many valid rows the file holds."""
        ledger = LedgerRepository(connection, self.bucket)
        raw = connection.connection.driver_connection
        assert isinstance(raw, DeadlineConnection)  # noqa: S101  the engine's own, for the type checker
        with raw.within(self.limits.deadline_seconds), _too_slow(), _as_sqlalchemy(connection, raw):
            with raw.cursor() as cursor:
                self._prepare(cursor)
            if not ledger.lock(self.file):
                return 0  # another job was made for it since
            with raw.cursor() as cursor:
                self.ended = self._load(cursor, ledger)
                Staging.drop(cursor)
        ledger.end(
            self.file,
            self.ended.state,
            attempts=job.attempt,
            current=self.current,
            rows=self.ended.rows,
            rejected=self.ended.rejected,
            error=self.ended.error,
        )
        if self.ended.state is FileState.LOADED:
            ledger.supersede_older(self.file, self.current)
        if self.ended.state is FileState.QUARANTINED and self.ended.error:
            request_copy(connection, job, self.file, self.ended.error)
        return self.ended.rows

    def committed(self) -> None:
        """Count."""
        if self.ended is None:
            return
        metrics.INGEST_FILES.labels(self.ended.state.value).inc()
        metrics.INGEST_ROWS.labels("stored").inc(self.ended.rows)
        metrics.INGEST_ROWS.labels("rejected").inc(self.ended.rejected)
        log.info(
            "ingest_file_ended",
            key=self.file.key,
            state=self.ended.state.value,
            rows=self.ended.rows,
            rejected=self.ended.rejected,
        )

    def _prepare(self, cursor: Any) -> None:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),"
            " set_config('work_mem', %s, true)",
            (str(int(self.limits.deadline_seconds * 900)), str(LOCK_TIMEOUT_MS), SORT_MEMORY),
        )
        # Files of one dataset are merged one after the other: two that share keys would deadlock.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 20251))",
            (f"{self.file.client_id}/{self.file.dataset}",),
        )

    def _load(self, cursor: Any, ledger: LedgerRepository) -> _Outcome:
        if ledger.newer_is_loaded(self.file, self.current):
            return _Outcome(FileState.SUPERSEDED)
        cursor.execute("DELETE FROM ingest_rejects WHERE file_id = %s", (self.file.id,))
        staging = Staging(
            self.file.key, self.spool, self.place.format, self.shape, self.body_at, self.width, self.check
        )
        try:
            staging.fill(cursor)
        except UNREADABLE as exc:  # what the slow path takes for good and the database does not
            return _Outcome(FileState.QUARANTINED, error=_error("unstorable", exc))
        return self._merge(cursor, ledger, staging)

    def _merge(self, cursor: Any, ledger: LedgerRepository, staging: Staging) -> _Outcome:
        merge = Merge(self.file, self.shape, self.current)
        inserted = merge.insert_new(cursor)
        # Every row that is not valid was left out: when none was, there is none to be looked for.
        all_valid = inserted == staging.rows
        valid, unfit_rows = (staging.rows, 0) if all_valid else staging.count(cursor)
        rejected = unfit_rows + staging.rejects.count
        too_many = rejected > self.limits.rejected_fraction_max * (valid + rejected)
        if too_many:
            merge.take_back(cursor)
        staging.keep_rejects(cursor, self.file.id, in_stage=unfit_rows > 0)
        if too_many:
            message = f"{rejected} of {valid + rejected} rows are not valid"
            error = {"reason": "too_many_rejected", "message": message}
            return _Outcome(FileState.QUARANTINED, rejected=rejected, error=error)
        if inserted is None:
            merge.merge(cursor, valid)
        self._remove_what_it_no_longer_holds(cursor, ledger)
        return _Outcome(FileState.LOADED, valid, rejected)

    def _remove_what_it_no_longer_holds(self, cursor: Any, ledger: LedgerRepository) -> None:
        others = ledger.others_loaded(self.file)
        if others:
            cursor.execute(
                "DELETE FROM ingested_rows WHERE file_id = ANY(%s) AND client_id = %s AND dataset = %s",
                (others, self.file.client_id, self.file.dataset),
            )


def _error(reason: str, exc: BaseException) -> dict[str, str]:
    return {"reason": reason, "message": str(exc).strip()[:2000]}


@contextmanager
def _too_slow() -> Iterator[None]:
    """Tell a load that the database has stopped from a database that is away, for which a worker waits."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as exc:
        if isinstance(exc.orig, errors.QueryCanceled):
            message = "the database did not load the file within DCS_INGEST_DEADLINE_SECONDS"
            raise JobError("load_timeout", message, retryable=True) from exc
        if isinstance(exc.orig, errors.LockNotAvailable):
            # Nobody's fault: it costs no attempt, and the thread is free for others meanwhile.
            message = "another file of the dataset is being loaded"
            seconds = LOCK_TIMEOUT_MS / 1000
            raise JobError(
                "dataset_busy", message, retryable=True, retry_after_seconds=seconds, attempted=False
            ) from exc
        raise


@contextmanager
def _as_sqlalchemy(connection: Connection, raw: DeadlineConnection) -> Iterator[None]:
    """Turn what the driver raises into what the rest of the service knows how to take."""
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as exc:
        if raw.closed:
            connection.invalidate(exc)
        raise sqlalchemy.exc.OperationalError(
            "load", None, exc, connection_invalidated=bool(raw.closed)
        ) from exc


@dataclass(frozen=True)
class EndFile:
    """The effect of a job whose file is not loaded."""

    file: LedgerFile
    bucket: str
    state: FileState
    error: Mapping[str, str]
    current: Current | None = None
    record_count: int | None = 0

    def apply(self, connection: Connection, job: ClaimedJob) -> int:
        """Enter it in the ledger."""
        ledger = LedgerRepository(connection, self.bucket)
        if ledger.lock(self.file):
            ledger.end(self.file, self.state, attempts=job.attempt, error=self.error, current=self.current)
            if self.state is FileState.QUARANTINED:
                request_copy(connection, job, self.file, self.error)
        return 0

    def committed(self) -> None:
        """Count."""
        metrics.INGEST_FILES.labels(self.state.value).inc()
        log.info("ingest_file_ended", key=self.file.key, state=self.state.value, rows=0, rejected=0)


def unfit(file: LedgerFile, bucket: str, exc: UnfitError, current: Current | None) -> EndFile:
    """Return the effect of a job whose file cannot be loaded, however often it is tried."""
    return EndFile(file, bucket, FileState.QUARANTINED, _error(exc.reason, exc), current)
