"""Queries that tell about the ledger and change nothing. Every one is of one client, or counts."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from app.ingest.repository import LedgerFile, LedgerRepository
from app.ingest.schemas import IngestDay, IngestFile, IngestFileDetail, Reject, Run
from app.models import FileState

REJECTS_SHOWN_MAX = 20
CLIENTS_MAX = 200
DAYS_KEPT = 31

_FILES = """
    SELECT id AS file_id, key, version, day, dataset, size, state AS status, rows, rejected, error, job_id,
           attempts, quarantine_key, modified_at, created_at, updated_at, loaded_at
    FROM ingest_files WHERE client_id = :client_id
"""

_PAGE = text(
    _FILES
    + """
      AND (CAST(:state AS text) IS NULL OR state = :state)
      AND (CAST(:day AS date) IS NULL OR day = :day)
      AND (CAST(:before AS bigint) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit
    """
)
_ONE = text(_FILES + " AND id = :id")
_REJECTS = text(
    "SELECT row_number, reason, sample FROM ingest_rejects"
    " WHERE file_id = :id ORDER BY row_number LIMIT :limit"
)

_RUN = text(
    """
    SELECT r.id AS run_id, coalesce(j.state, 'unknown') AS status, r.cause, r.files_new, r.files_known,
           r.keys_ignored, r.created_at, r.finished_at
    FROM ingest_runs AS r LEFT JOIN jobs AS j ON j.id = r.id
    WHERE r.id = :id AND r.client_id = :client_id
    """
)

# What is superseded or gone has no part in its day.
_DAYS = text(
    """
    SELECT coalesce(d.day, f.day) AS day, d.marked_at, coalesce(f.files, 0) AS files,
           coalesce(f.loaded, 0) AS loaded, coalesce(f.pending, 0) AS pending,
           coalesce(f.failed, 0) AS failed, coalesce(f.rows, 0) AS rows,
           d.marked_at IS NOT NULL AND coalesce(f.pending, 0) + coalesce(f.failed, 0) = 0 AS complete
    FROM (
        SELECT day, marked_at FROM ingest_days
        WHERE client_id = :client_id AND marked_at IS NOT NULL
          AND (CAST(:before AS date) IS NULL OR day < :before)
    ) AS d
    FULL JOIN (
        SELECT day, count(*) AS files, count(*) FILTER (WHERE state = 'loaded') AS loaded,
               count(*) FILTER (WHERE state = 'pending') AS pending,
               count(*) FILTER (WHERE state IN ('dead', 'quarantined')) AS failed, sum(rows) AS rows
        FROM ingest_files
        WHERE client_id = :client_id AND state NOT IN ('superseded', 'gone')
          AND (CAST(:before AS date) IS NULL OR day < :before)
        GROUP BY day
    ) AS f ON f.day = d.day
    ORDER BY 1 DESC LIMIT :limit
    """
)

# Only clients that mark their days, and have done so of late, can miss one. Days are missed as far back as
# listings look: what could be found by none of them would be missing for ever.
_STANDING = text(
    """
    WITH due AS (
        SELECT ((now() AT TIME ZONE 'UTC') - make_interval(hours => :due_hour))::date - 1 AS day,
               (now() AT TIME ZONE 'UTC')::date AS today
    ), marked AS (
        SELECT d.client_id, d.day,
               NOT EXISTS (SELECT 1 FROM ingest_files AS f
                           WHERE f.client_id = d.client_id AND f.day = d.day
                             AND f.state IN ('pending', 'dead', 'quarantined')) AS complete
        FROM ingest_days AS d, due
        WHERE d.marked_at IS NOT NULL AND d.day > due.day - :days_kept
    ), clients AS (
        SELECT client_id, min(day) AS first_day, max(day) FILTER (WHERE complete) AS newest
        FROM marked GROUP BY client_id ORDER BY client_id LIMIT :clients
    )
    SELECT c.client_id, extract(epoch FROM c.newest)::bigint AS newest_unix,
           (SELECT count(*)
            FROM generate_series(greatest(c.first_day, due.today - :days_back)::timestamp, due.day::timestamp,
                                 interval '1 day') AS wanted (day)
            WHERE NOT EXISTS (SELECT 1 FROM marked AS m WHERE m.client_id = c.client_id
                                AND m.day = wanted.day::date AND m.complete)) AS missing
    FROM clients AS c, due
    """
)

_OPEN = text(
    """
    SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
           count(*) FILTER (WHERE state = 'dead') AS dead,
           count(*) FILTER (WHERE state = 'quarantined') AS quarantined,
           coalesce(extract(epoch FROM min(updated_at) FILTER (WHERE state = 'pending')), 0) AS oldest,
           coalesce((SELECT extract(epoch FROM finished_at) FROM ingest_runs
                     WHERE scheduled_for IS NOT NULL AND finished_at IS NOT NULL
                     ORDER BY scheduled_for DESC LIMIT 1), 0) AS last_listing
    FROM ingest_files WHERE state IN ('pending', 'dead', 'quarantined')
    """
)


@dataclass(frozen=True)
class Standing:
    """How far a client's days are. ``newest_unix`` is None when none is complete."""

    client_id: str
    newest_unix: int | None
    missing: int


class LedgerReading:
    """Queries, in the transaction of the connection given."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, run_id: UUID, client_id: str) -> Run | None:
        """Return a listing of a client's."""
        row = self._connection.execute(_RUN, {"id": run_id, "client_id": client_id}).one_or_none()
        return None if row is None else Run.model_validate(dict(row._mapping))  # noqa: SLF001  public name

    def files(
        self, client_id: str, state: FileState | None, day: dt.date | None, before: int | None, limit: int
    ) -> list[IngestFile]:
        """Return files of a client's, newest first."""
        values = {
            "client_id": client_id,
            "state": state.value if state else None,
            "day": day,
            "before": before,
            "limit": limit,
        }
        return [
            IngestFile.model_validate(dict(row._mapping))  # noqa: SLF001
            for row in self._connection.execute(_PAGE, values)
        ]

    def file(self, file_id: int, client_id: str) -> IngestFileDetail | None:
        """Return a file of a client's with its rejected rows."""
        row = self._connection.execute(_ONE, {"id": file_id, "client_id": client_id}).one_or_none()
        if row is None:
            return None
        rejects = self._connection.execute(_REJECTS, {"id": file_id, "limit": REJECTS_SHOWN_MAX})
        shown = [Reject.model_validate(dict(one._mapping)) for one in rejects]  # noqa: SLF001
        return IngestFileDetail.model_validate(dict(row._mapping) | {"rejects": shown})  # noqa: SLF001

    def ledger_file(self, file_id: int, client_id: str) -> LedgerFile | None:
        """Return a file of a client's as the ledger's own code wants it."""
        return LedgerRepository(self._connection, "").of_client(file_id, client_id)

    def days(self, client_id: str, before: dt.date | None, limit: int) -> list[IngestDay]:
        """Return days of a client's, newest first."""
        values = {"client_id": client_id, "before": before, "limit": limit}
        return [
            IngestDay.model_validate(dict(row._mapping))  # noqa: SLF001
            for row in self._connection.execute(_DAYS, values)
        ]

    def standings(self, *, due_hour: int, days_back: int) -> list[Standing]:
        """Return how far the days of every client are."""
        values = {
            "due_hour": due_hour,
            "days_back": days_back,
            "days_kept": DAYS_KEPT,
            "clients": CLIENTS_MAX,
        }
        return [
            Standing(row.client_id, row.newest_unix, row.missing)
            for row in self._connection.execute(_STANDING, values)
        ]

    def open(self) -> Row[Any]:
        """Return how much is pending, dead and quarantined, since when, and when all was listed last."""
        return self._connection.execute(_OPEN).one()
