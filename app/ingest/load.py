"""Loading a file: staged by COPY, checked, merged, and entered in the ledger in one transaction."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import sqlalchemy
import structlog
from psycopg2 import sql
from psycopg2.extras import execute_values
from sqlalchemy import Connection

from app.database.deadline import DeadlineConnection
from app.ingest.layout import Place
from app.ingest.merge import Merge
from app.ingest.quarantine import request_copy
from app.ingest.repository import Current, LedgerFile, LedgerRepository
from app.ingest.rows import REJECTS_KEPT_MAX, SAMPLE_CHARACTERS_MAX, Rejects, Stream, csv_rows, jsonl_rows
from app.ingest.shapes import STAGE, Shape
from app.ingest.spool import Spool, UnfitError
from app.jobs.repository import ClaimedJob
from app.models import FileState
from app.telemetry.metrics import ingest as metrics

COPY_CHUNK_BYTES = 64 * 1024
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


class _Abort(io.RawIOBase):
    """A file that is read as long as nobody objects. ``failure`` is what the objection was."""

    def __init__(self, read: Callable[[int], bytes], check: Callable[[], None]) -> None:
        super().__init__()
        self._read, self._check = read, check
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        """Say that it is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read, or end the COPY."""
        try:
            self._check()
            return self._read(size)
        except BaseException as exc:
            self.failure = exc  # the driver would only tell its name
            raise


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
        with raw.within(self.limits.deadline_seconds), _as_sqlalchemy(connection, raw):
            with raw.cursor() as cursor:
                self._prepare(cursor)
            if not ledger.lock(self.file):
                return 0  # another job was made for it since
            with raw.cursor() as cursor:
                self.ended = self._load(cursor, ledger)
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(STAGE))
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
        cursor.execute(
            sql.SQL("CREATE TEMP TABLE {} (n bigint, {}) ON COMMIT DROP").format(STAGE, self.shape.columns)
        )
        try:
            rejects = self._stage(cursor)
        except psycopg2.DataError as exc:  # what the slow path takes for good and the database does not
            return _Outcome(FileState.QUARANTINED, error=_error("unstorable", exc))
        valid, rejected = self._count(cursor)
        rejected += rejects.count
        self._keep_rejects(cursor, rejects)
        if rejected > self.limits.rejected_fraction_max * (valid + rejected):
            message = f"{rejected} of {valid + rejected} rows are not valid"
            error = {"reason": "too_many_rejected", "message": message}
            return _Outcome(FileState.QUARANTINED, rejected=rejected, error=error)
        Merge(self.file, self.shape, self.current).run(cursor, valid)
        self._remove_what_it_no_longer_holds(cursor, ledger)
        return _Outcome(FileState.LOADED, valid, rejected)

    def _stage(self, cursor: Any) -> Rejects:
        """Copy the file as it is, or, if the database cannot read it, row by row."""
        cursor.execute("SAVEPOINT staging")
        if not self.spool.suspicious:
            self.spool.rewind(self.body_at)
            try:
                self._copy(cursor, self.shape.copy_all, self.spool.file.read)
            except psycopg2.DataError as exc:
                log.info("ingest_slow_path_taken", key=self.file.key, reason=str(exc).strip()[:500])
                cursor.execute("ROLLBACK TO SAVEPOINT staging")
            else:
                return Rejects()
        metrics.INGEST_SLOW_PATH.inc()
        rejects = Rejects()
        self.spool.rewind(self.body_at)
        chunks: Iterator[bytes] = (
            csv_rows(self.spool, self.width, rejects)
            if self.place.format == "csv"
            else jsonl_rows(self.spool, rejects)
        )
        try:
            self._copy(cursor, self.shape.copy_checked, Stream(chunks).read)
        except psycopg2.DataError:
            cursor.execute("ROLLBACK TO SAVEPOINT staging")
            raise
        return rejects

    def _copy(self, cursor: Any, statement: sql.Composable, read: Callable[[int], bytes]) -> None:
        source = _Abort(read, self.check)
        try:
            cursor.copy_expert(statement, source, COPY_CHUNK_BYTES)
        except psycopg2.Error:
            if source.failure is not None:
                raise source.failure from None
            raise

    def _count(self, cursor: Any) -> tuple[int, int]:
        cursor.execute(
            sql.SQL(
                "SELECT count(*) FILTER (WHERE {why} IS NULL), count(*) FILTER (WHERE {why} IS NOT NULL)"
                " FROM {stage} WHERE {present}"
            ).format(why=self.shape.why, stage=STAGE, present=self.shape.present)
        )
        valid, rejected = cursor.fetchone()
        return int(valid), int(rejected)

    def _keep_rejects(self, cursor: Any, rejects: Rejects) -> None:
        cursor.execute(
            sql.SQL(
                "INSERT INTO ingest_rejects (file_id, row_number, reason, sample)"
                " SELECT {file_id}, number, why, left(sample, {characters}) FROM ("
                "   SELECT coalesce(n, row_number() OVER (ORDER BY ctid)) AS number, {why} AS why,"
                "          {sample} AS sample"
                "   FROM {stage} WHERE {present}) AS numbered"
                " WHERE why IS NOT NULL ORDER BY number LIMIT {limit}"
            ).format(
                file_id=sql.Literal(self.file.id),
                characters=sql.Literal(SAMPLE_CHARACTERS_MAX),
                why=self.shape.why,
                sample=self.shape.sample,
                stage=STAGE,
                present=self.shape.present,
                limit=sql.Literal(REJECTS_KEPT_MAX),
            )
        )
        if rejects.kept:
            execute_values(
                cursor,
                "INSERT INTO ingest_rejects (file_id, row_number, reason, sample) VALUES %s"
                " ON CONFLICT DO NOTHING",
                [(self.file.id, *one) for one in rejects.kept],
            )

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
