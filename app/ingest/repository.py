"""Every query on the ledger. Times that decide anything are the database's or the store's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, text

from app.ingest.layout import Place
from app.models import FileState


@dataclass(frozen=True)
class Sighting:
    """A version of a file that somebody told of."""

    place: Place
    version: str
    size: int
    modified_at: dt.datetime


@dataclass(frozen=True)
class LedgerFile:
    """A version of a file in the ledger."""

    id: int
    client_id: str
    key: str
    version: str
    day: dt.date
    dataset: str
    size: int
    modified_at: dt.datetime
    state: FileState
    job_id: UUID


@dataclass(frozen=True)
class Known:
    """A version that the ledger has, and when the newest of the key's other versions was put."""

    file: LedgerFile
    others_modified_at: dt.datetime | None


@dataclass(frozen=True)
class Current:
    """When a version was put into the bucket, and when we last saw that it was the current one."""

    modified_at: dt.datetime
    verified_at: dt.datetime


_COLUMNS = "id, client_id, key, version, day, dataset, size, modified_at, state, job_id"

# In one order, as whoever adds the same files at the same time: out of order they would wait for each other.
_ADD = text(
    """
    INSERT INTO ingest_files (client_id, bucket, key, version, day, dataset, size, modified_at, job_id)
    SELECT client_id, :bucket, key, version, day, dataset, size, modified_at, job_id
    FROM unnest(CAST(:client_ids AS text[]), CAST(:keys AS text[]), CAST(:versions AS text[]),
                CAST(:days AS date[]), CAST(:datasets AS text[]), CAST(:sizes AS bigint[]),
                CAST(:modified_ats AS timestamptz[]), CAST(:job_ids AS uuid[]))
         AS given (client_id, key, version, day, dataset, size, modified_at, job_id)
    ORDER BY client_id, key, version
    ON CONFLICT ON CONSTRAINT ingest_files_once DO NOTHING
    RETURNING job_id
    """
)

_KNOWN = text(
    f"""
    SELECT {_COLUMNS},
           (SELECT max(other.modified_at) FROM ingest_files AS other
            WHERE other.client_id = f.client_id AND other.bucket = f.bucket AND other.key = f.key
              AND other.id <> f.id) AS others_modified_at
    FROM unnest(CAST(:client_ids AS text[]), CAST(:keys AS text[])) AS given (of_client, of_key)
    JOIN ingest_files AS f ON f.client_id = of_client AND f.bucket = :bucket AND f.key = of_key
    """  # noqa: S608  a constant
)

_REOPEN = text(
    """
    WITH ended AS (
        SELECT f.id, given.job_id, given.modified_at
        FROM unnest(CAST(:ids AS bigint[]), CAST(:job_ids AS uuid[]), CAST(:modified_ats AS timestamptz[]))
             AS given (id, job_id, modified_at)
        JOIN ingest_files AS f ON f.id = given.id
        WHERE f.state <> 'pending'
        ORDER BY f.id
        FOR UPDATE OF f
    )
    UPDATE ingest_files AS f
    SET state = 'pending', job_id = ended.job_id, error = NULL, updated_at = now(),
        modified_at = greatest(f.modified_at, ended.modified_at)
    FROM ended
    WHERE f.id = ended.id
    RETURNING f.job_id
    """
)

_BY_JOB = text(f"SELECT {_COLUMNS} FROM ingest_files WHERE job_id = :job_id")  # noqa: S608
_BY_ID = text(f"SELECT {_COLUMNS} FROM ingest_files WHERE id = :id AND client_id = :client_id")  # noqa: S608
_LOCK = text(
    f"SELECT {_COLUMNS} FROM ingest_files WHERE id = :id AND job_id = :job_id FOR UPDATE"  # noqa: S608
)

_END = text(
    """
    UPDATE ingest_files
    SET state = :state, rows = :rows, rejected = :rejected, error = CAST(:error AS jsonb),
        attempts = :attempts, modified_at = :modified_at, verified_at = :verified_at, updated_at = now(),
        loaded_at = CASE WHEN :state = 'loaded' THEN now() ELSE loaded_at END
    WHERE id = :id
    """
)

_NEWER_LOADED = text(
    """
    SELECT EXISTS (
        SELECT 1 FROM ingest_files
        WHERE client_id = :client_id AND bucket = :bucket AND key = :key AND id <> :id
          AND state = 'loaded' AND (modified_at, verified_at) > (:modified_at, :verified_at)
    )
    """
)

_OTHER_LOADED = text(
    """
    SELECT id FROM ingest_files
    WHERE client_id = :client_id AND bucket = :bucket AND key = :key AND id <> :id AND loaded_at IS NOT NULL
    """
)

_SUPERSEDE = text(
    """
    UPDATE ingest_files SET state = 'superseded', updated_at = now()
    WHERE client_id = :client_id AND bucket = :bucket AND key = :key AND id <> :id
      AND state IN ('loaded', 'dead', 'quarantined')
      AND (modified_at, coalesce(verified_at, '-infinity')) < (:modified_at, :verified_at)
    """
)

_MARK_DAY = text(
    """
    INSERT INTO ingest_days (client_id, day, marked_at, listed_at)
    VALUES (:client_id, :day, :marked_at, now())
    ON CONFLICT (client_id, day) DO UPDATE
    SET marked_at = coalesce(ingest_days.marked_at, excluded.marked_at), listed_at = excluded.listed_at
    """
)

_ADD_RUN = text(
    """
    INSERT INTO ingest_runs (id, client_id, cause, spec, scheduled_for)
    VALUES (:id, :client_id, :cause, CAST(:spec AS jsonb), :scheduled_for)
    ON CONFLICT (scheduled_for) DO NOTHING
    """
)

_RUN_WAITING = text(
    """
    SELECT EXISTS (
        SELECT 1 FROM ingest_runs AS r JOIN jobs AS j ON j.id = r.id
        WHERE r.client_id = :client_id AND r.spec = CAST(:spec AS jsonb)
          -- What its shelves are found by: few wait, and listings of the past are many.
          AND j.client_id = :client_id AND j.source_type = 'ingest_list' AND j.state = 'queued'
    )
    """
)

_END_RUN = text(
    """
    UPDATE ingest_runs
    SET files_new = :new, files_known = :known, keys_ignored = :ignored, finished_at = now()
    WHERE id = :id
    """
)


class LedgerRepository:
    """Queries, in the transaction of the connection given."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._connection = connection
        self._bucket = bucket

    def add(self, sightings: Mapping[UUID, Sighting]) -> set[UUID]:
        """Add versions, each to be loaded by its job. Return the jobs of those that the ledger had not."""
        if not sightings:
            return set()
        given = list(sightings.values())
        values = {
            "bucket": self._bucket,
            "client_ids": [one.place.client_id for one in given],
            "keys": [one.place.key for one in given],
            "versions": [one.version for one in given],
            "days": [one.place.day for one in given],
            "datasets": [one.place.dataset for one in given],
            "sizes": [one.size for one in given],
            "modified_ats": [one.modified_at for one in given],
            "job_ids": [str(job_id) for job_id in sightings],
        }
        return {row.job_id for row in self._connection.execute(_ADD, values)}

    def known(self, places: Iterable[Place]) -> dict[tuple[str, str], Known]:
        """Return what the ledger has of these keys, by key and version."""
        owners = {place.key: place.client_id for place in places}
        values = {"bucket": self._bucket, "keys": list(owners), "client_ids": list(owners.values())}
        return {
            (row.key, row.version): Known(_file(row), row.others_modified_at)
            for row in self._connection.execute(_KNOWN, values)
        }

    def reopen(self, again: Mapping[UUID, tuple[int, dt.datetime]]) -> set[UUID]:
        """Let jobs load versions again, by id, put at this time. Return the jobs of those not pending."""
        if not again:
            return set()
        values = {
            "job_ids": [str(job_id) for job_id in again],
            "ids": [file_id for file_id, _ in again.values()],
            "modified_ats": [modified_at for _, modified_at in again.values()],
        }
        return {row.job_id for row in self._connection.execute(_REOPEN, values)}

    def of_job(self, job_id: UUID) -> LedgerFile | None:
        """Return the version that a job is to load, unless another job was made for it since."""
        row = self._connection.execute(_BY_JOB, {"job_id": job_id}).one_or_none()
        return _file(row) if row is not None else None

    def of_client(self, file_id: int, client_id: str) -> LedgerFile | None:
        """Return a version by its id, if it is this client's."""
        row = self._connection.execute(_BY_ID, {"id": file_id, "client_id": client_id}).one_or_none()
        return _file(row) if row is not None else None

    def lock(self, file: LedgerFile) -> bool:
        """Lock a version's row. Return False if another job was made for it since."""
        values = {"id": file.id, "job_id": file.job_id}
        return self._connection.execute(_LOCK, values).one_or_none() is not None

    def end(
        self,
        file: LedgerFile,
        state: FileState,
        *,
        attempts: int,
        current: Current | None = None,
        rows: int = 0,
        rejected: int = 0,
        error: Mapping[str, str] | None = None,
    ) -> None:
        """Say what became of a version."""
        values = {
            "id": file.id,
            "state": state.value,
            "rows": rows,
            "rejected": rejected,
            "error": orjson.dumps(dict(error)).decode() if error else None,
            "attempts": attempts,
            "modified_at": current.modified_at if current else file.modified_at,
            "verified_at": current.verified_at if current else None,
        }
        self._connection.execute(_END, values)

    def newer_is_loaded(self, file: LedgerFile, current: Current) -> bool:
        """Say whether a version that was put later is loaded."""
        return bool(self._connection.execute(_NEWER_LOADED, self._same(file, current)).scalar_one())

    def others_loaded(self, file: LedgerFile) -> list[int]:
        """Return the ids of other versions of the key that were ever loaded."""
        return [row.id for row in self._connection.execute(_OTHER_LOADED, self._same(file))]

    def supersede_older(self, file: LedgerFile, current: Current) -> None:
        """Say that this version took the place of all that were put before it."""
        self._connection.execute(_SUPERSEDE, self._same(file, current))

    def _same(self, file: LedgerFile, current: Current | None = None) -> dict[str, Any]:
        return {
            "client_id": file.client_id,
            "bucket": self._bucket,
            "key": file.key,
            "id": file.id,
            "modified_at": current.modified_at if current else None,
            "verified_at": current.verified_at if current else None,
        }

    def now(self) -> dt.datetime:
        """Return the database's time."""
        found: dt.datetime = self._connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        return found

    def mark_days(self, days: Iterable[tuple[str, dt.date, dt.datetime | None]]) -> None:
        """Remember that days were listed, and when the marker of each was put, if it has one."""
        for client_id, day, marked_at in days:
            values = {"client_id": client_id, "day": day, "marked_at": marked_at}
            self._connection.execute(_MARK_DAY, values)

    def add_run(
        self,
        run_id: UUID,
        *,
        client_id: str | None,
        cause: str,
        spec: Mapping[str, Any],
        scheduled_for: dt.datetime | None = None,
    ) -> bool:
        """Add a listing. Return False if the slot is taken."""
        values = {
            "id": run_id,
            "client_id": client_id,
            "cause": cause,
            "spec": orjson.dumps(dict(spec)).decode(),
            "scheduled_for": scheduled_for,
        }
        return self._connection.execute(_ADD_RUN, values).rowcount == 1

    def run_is_waiting(self, client_id: str, spec: Mapping[str, Any]) -> bool:
        """Say whether the same listing has been asked for and has not begun."""
        values = {"client_id": client_id, "spec": orjson.dumps(dict(spec)).decode()}
        return bool(self._connection.execute(_RUN_WAITING, values).scalar_one())

    def end_run(self, run_id: UUID, *, new: int, known: int, ignored: int) -> None:
        """Say what a listing found."""
        values = {"id": run_id, "new": new, "known": known, "ignored": ignored}
        self._connection.execute(_END_RUN, values)


def _file(row: Row[Any]) -> LedgerFile:
    return LedgerFile(
        id=row.id,
        client_id=row.client_id,
        key=row.key,
        version=row.version,
        day=row.day,
        dataset=row.dataset,
        size=row.size,
        modified_at=row.modified_at,
        state=FileState(row.state),
        job_id=row.job_id,
    )
