"""What a worker does besides jobs: begins listings when they are due, and keeps ledger and figures true."""

from __future__ import annotations

import datetime as dt
import time

import structlog
from sqlalchemy import Connection, text

from app.database.engine import DATABASE_ERRORS, Database
from app.ingest.reading import LedgerReading, Standing
from app.ingest.repository import LedgerRepository
from app.ingest.service import IngestService, job_intake
from app.ingest.settings import parse_time
from app.settings import Settings
from app.telemetry.metrics import ingest as metrics

PURGE_SECONDS = 3600.0
PURGED_MAX = 1000
BURIED_MAX = 100

# The job of a file is the queue's; when that has given it up, the ledger says so. A job that is no longer
# kept has ended without telling: its file is made a new one by hand, or by the day's replay.
_BURY = text(
    """
    UPDATE ingest_files AS f
    SET state = 'dead', updated_at = now(), attempts = coalesce(ended.attempt, f.attempts),
        error = coalesce(ended.error, jsonb_build_object('reason', ended.state, 'message', 'its job ended'))
    FROM (
        SELECT pending.id, coalesce(j.state, 'lost') AS state, j.attempt, j.error
        FROM ingest_files AS pending LEFT JOIN jobs AS j ON j.id = pending.job_id
        WHERE pending.state = 'pending' AND (j.id IS NULL OR j.state IN ('dead', 'failed', 'cancelled'))
        LIMIT :limit
        FOR UPDATE OF pending SKIP LOCKED
    ) AS ended
    WHERE f.id = ended.id
    RETURNING f.id, f.client_id, f.key, f.error ->> 'reason' AS reason
    """
)

# The last of the schedule says when all was last looked at, and that its time of day has had one.
_PURGE = text(
    """
    DELETE FROM ingest_runs AS r
    USING (
        SELECT id FROM ingest_runs
        WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.id = ingest_runs.id)
          AND (scheduled_for IS NULL
               OR scheduled_for < (SELECT max(scheduled_for) FROM ingest_runs WHERE finished_at IS NOT NULL))
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE r.id = old.id
    """
)

log = structlog.get_logger()


def latest_slot(now: dt.datetime, times: tuple[str, ...]) -> dt.datetime | None:
    """Return the last moment of the schedule that is not after ``now``."""
    days = (now.date(), now.date() - dt.timedelta(days=1))
    slots = [dt.datetime.combine(day, parse_time(time), dt.UTC) for day in days for time in times]
    return max((slot for slot in slots if slot <= now), default=None)


class Watch:
    """Every worker has one. What must be done once, a unique key of the database keeps to one of them."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        jobs = job_intake(settings, database)
        self._service = IngestService(
            database,
            jobs,
            bucket=settings.ingest_bucket or "",
            max_attempts=settings.ingest_max_attempts,
        )
        self._slot: dt.datetime | None = None
        self._purge_at = float("-inf")
        self._clients: set[str] = set()

    def run_once(self) -> None:
        """Look. Without the database the figures keep what was last known."""
        try:
            with self._database.transaction() as connection:
                now = LedgerRepository(connection, "").now()
                self._bury(connection)
                reading = LedgerReading(connection)
                opened = reading.open()
                standings = reading.standings(
                    due_hour=self._settings.ingest_due_hour_utc, days_back=self._settings.ingest_days_back
                )
            self._begin_listing(now)
            self._purge()
        except DATABASE_ERRORS:
            return
        for state in ("pending", "dead", "quarantined"):
            metrics.INGEST_OPEN.labels(state).set(getattr(opened, state))
        metrics.INGEST_OLDEST_PENDING.set(float(opened.oldest))
        metrics.INGEST_LAST_LISTING.set(float(opened.last_listing))
        self._publish(standings)

    @staticmethod
    def _bury(connection: Connection) -> None:
        for row in connection.execute(_BURY, {"limit": BURIED_MAX}):
            metrics.INGEST_FILES.labels("dead").inc()
            log.error(
                "ingest_file_died", file_id=row.id, client_id=row.client_id, key=row.key, reason=row.reason
            )

    def _purge(self) -> None:
        """Delete listings whose jobs are gone."""
        if time.monotonic() < self._purge_at:
            return
        with self._database.statement() as connection:
            purged = connection.execute(_PURGE, {"limit": PURGED_MAX}).rowcount
        self._purge_at = time.monotonic() + (PURGE_SECONDS if purged < PURGED_MAX else 0)
        if purged:
            log.info("ingest_runs_purged", runs=purged)

    def _begin_listing(self, now: dt.datetime) -> None:
        slot = latest_slot(now, self._settings.ingest_times_utc)
        if slot is None or slot == self._slot:
            return
        today = now.date()
        days = [today - dt.timedelta(days=back) for back in range(self._settings.ingest_days_back + 1)]
        run = self._service.schedule(days, slot=slot)
        self._slot = slot
        if run is not None:
            log.info("ingest_listing_scheduled", slot=slot.isoformat(), run_id=str(run.run_id))

    def _publish(self, standings: list[Standing]) -> None:
        for one in standings:
            metrics.INGEST_DAYS_MISSING.labels(one.client_id).set(one.missing)
            if one.newest_unix is not None:
                metrics.INGEST_NEWEST_DAY.labels(one.client_id).set(one.newest_unix)
        clients = {one.client_id for one in standings}
        for client_id in self._clients - clients:
            metrics.INGEST_DAYS_MISSING.remove(client_id)
            metrics.INGEST_NEWEST_DAY.remove(client_id)
        self._clients = clients


def watch(settings: Settings, database: Database) -> Watch | None:
    """Return it, or None where nothing is ingested."""
    return Watch(settings, database) if settings.ingest_bucket is not None else None
