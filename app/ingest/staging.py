"""The stage: the rows of a file in a table that only this load sees, to be checked and merged from there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import structlog
from psycopg2 import errors, sql
from psycopg2.extras import execute_values

from app.ingest.rows import REJECTS_KEPT_MAX, SAMPLE_CHARACTERS_MAX, Rejects, Stream, csv_rows, jsonl_rows
from app.ingest.shapes import STAGE, Shape
from app.ingest.spool import Spool
from app.telemetry.metrics import ingest as metrics

COPY_CHUNK_BYTES = 64 * 1024
UNREADABLE = (psycopg2.DataError, errors.ProgramLimitExceeded, errors.StatementTooComplex)
"""What the database says of a file that it cannot read, however often it is tried."""

_CREATE = sql.SQL("CREATE TEMP TABLE {} (n bigint, {}) ON COMMIT DROP")
_COUNT = sql.SQL(
    "SELECT count(*) - count(why), count(why) FROM (SELECT {why} AS why FROM {stage} WHERE {present}) AS s"
)
_KEEP_REJECTS = sql.SQL(
    """
    INSERT INTO ingest_rejects (file_id, row_number, reason, sample)
    SELECT {file_id}, number, why, left(sample, {characters}) FROM (
        SELECT coalesce(n, row_number() OVER (ORDER BY ctid)) AS number, {why} AS why, {sample} AS sample
        FROM {stage} WHERE {present}
    ) AS numbered
    WHERE why IS NOT NULL ORDER BY number LIMIT {limit}
    """
)

log = structlog.get_logger()


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
class Staging:
    """One file on its way through the stage. ``check`` is asked all the time whether to go on."""

    key: str
    spool: Spool
    format: str
    shape: Shape
    body_at: int
    width: int
    check: Callable[[], None]
    rows: int = field(default=0, init=False)
    """What the database took, lines that are empty included."""
    rejects: Rejects = field(default_factory=Rejects, init=False)
    """What was not even shown to the database."""

    def fill(self, cursor: Any) -> None:
        """Copy the file as it is, or, if the database cannot read it, row by row."""
        cursor.execute(_CREATE.format(STAGE, self.shape.columns))
        cursor.execute("SAVEPOINT staging")
        if not self.spool.suspicious:
            self.spool.rewind(self.body_at)
            try:
                self._copy(cursor, self.shape.copy_all, self.spool.file.read)
            except UNREADABLE as exc:
                log.info("ingest_slow_path_taken", key=self.key, reason=str(exc).strip()[:500])
                cursor.execute("ROLLBACK TO SAVEPOINT staging")
            else:
                return
        metrics.INGEST_SLOW_PATH.inc()
        self.spool.rewind(self.body_at)
        chunks: Iterator[bytes] = (
            csv_rows(self.spool, self.width, self.rejects)
            if self.format == "csv"
            else jsonl_rows(self.spool, self.rejects)
        )
        try:
            self._copy(cursor, self.shape.copy_checked, Stream(chunks).read)
        except UNREADABLE:
            cursor.execute("ROLLBACK TO SAVEPOINT staging")
            raise

    def _copy(self, cursor: Any, statement: sql.Composable, read: Callable[[int], bytes]) -> None:
        source = _Abort(read, self.check)
        try:
            cursor.copy_expert(statement, source, COPY_CHUNK_BYTES)
        except psycopg2.Error:
            if source.failure is not None:
                raise source.failure from None
            raise
        self.rows = cursor.rowcount

    def count(self, cursor: Any) -> tuple[int, int]:
        """Return how many rows of the stage are valid, and how many are not."""
        cursor.execute(_COUNT.format(why=self.shape.why, stage=STAGE, present=self.shape.present))
        valid, rejected = cursor.fetchone()
        return int(valid), int(rejected)

    def keep_rejects(self, cursor: Any, file_id: int, *, in_stage: bool) -> None:
        """Store the first rows that are not valid; ``in_stage`` if there are any among those staged."""
        if in_stage:
            cursor.execute(
                _KEEP_REJECTS.format(
                    file_id=sql.Literal(file_id),
                    characters=sql.Literal(SAMPLE_CHARACTERS_MAX),
                    why=self.shape.why,
                    sample=self.shape.sample,
                    stage=STAGE,
                    present=self.shape.present,
                    limit=sql.Literal(REJECTS_KEPT_MAX),
                )
            )
        if self.rejects.kept:
            execute_values(
                cursor,
                "INSERT INTO ingest_rejects (file_id, row_number, reason, sample) VALUES %s"
                " ON CONFLICT DO NOTHING",
                [(file_id, *one) for one in self.rejects.kept],
            )

    @staticmethod
    def drop(cursor: Any) -> None:
        """Remove it, if it is there."""
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(STAGE))
