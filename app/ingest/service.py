"""What clients can do with ingestion."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from uuid import UUID

import structlog
from sqlalchemy import Connection

from app.database.engine import Database
from app.errors import DatabaseUnavailableError, FieldError, InvalidRequestError
from app.ingest.errors import FileNotFoundInLedgerError, RunNotFoundError
from app.ingest.events import Heard, heard
from app.ingest.layout import client_prefix
from app.ingest.listing import Spec, own_prefix
from app.ingest.reading import LedgerReading
from app.ingest.registrar import Again, Registrar
from app.ingest.repository import LedgerRepository
from app.ingest.schemas import (
    DayPage,
    EventNotification,
    EventsTaken,
    FilePage,
    IngestFileDetail,
    PopulateRequest,
    Replayed,
    Run,
    RunAccepted,
)
from app.jobs.intake import JobIntake
from app.jobs.submission import Submission
from app.jobs.wakeups import Announcer
from app.models import FileState
from app.settings import Settings
from app.telemetry.metrics import ingest as metrics

KIND_LIST = "ingest_list"
SYSTEM_CLIENT = "dcs-system"
"""Whom the jobs of scheduled listings belong to; they look at all clients."""

log = structlog.get_logger()


LISTINGS_SECONDS_MAX = 5.0
"""For the listings of one call: each is a transaction, and the call holds the slot of a request."""


class _WaitingError(Exception):
    """The same listing is about to run, or its slot is taken."""


class IngestService:
    """Accepts listings and events, and tells about the ledger. Calls no object store: workers do."""

    def __init__(self, database: Database, jobs: JobIntake, *, bucket: str, max_attempts: int) -> None:
        self._database = database
        self._jobs = jobs
        self._bucket = bucket
        self._registrar = Registrar(database, jobs, bucket=bucket, max_attempts=max_attempts)

    @staticmethod
    def check(request: PopulateRequest, *, client_id: str) -> Spec:
        """Return what is asked for. Raises ``InvalidRequestError`` for what is not the client's."""
        again = Again.ALL if request.force else Again.FAILED
        if request.day is not None:
            return Spec(client_id, days=(request.day,), again=again)
        field, text = (
            ("object.key", request.object.key)
            if request.object is not None
            else ("prefix", request.prefix or "")
        )
        if not own_prefix(client_id, text):
            message = f"must begin with {client_prefix(client_id)}"
            raise InvalidRequestError(FieldError(field, message))
        if request.object is not None:
            return Spec(client_id, key=text, version=request.object.version, again=again)
        return Spec(client_id, prefix=text, again=again)

    def populate(self, spec: Spec, *, client_id: str, request_id: str, cause: str = "hand") -> RunAccepted:
        """Store a listing."""
        run = self._list(spec, client_id=client_id, request_id=request_id, cause=cause)
        assert run is not None  # noqa: S101  only scheduled and repeated ones may be
        return run

    def schedule(self, days: Sequence[dt.date], *, slot: dt.datetime) -> RunAccepted | None:
        """Store the listing of a slot of the schedule. Return None when another process was first."""
        spec = Spec(None, days=tuple(days))
        name = f"schedule-{slot:%Y%m%dT%H%MZ}"
        return self._list(spec, client_id=SYSTEM_CLIENT, request_id=name, cause="schedule", slot=slot)

    def _list(
        self,
        spec: Spec,
        *,
        client_id: str,
        request_id: str,
        cause: str,
        slot: dt.datetime | None = None,
        unless_waiting: bool = False,
    ) -> RunAccepted | None:
        config = spec.as_config()

        def enter(connection: Connection, job_id: UUID) -> None:
            ledger = LedgerRepository(connection, self._bucket)
            if unless_waiting and ledger.run_is_waiting(client_id, config):
                raise _WaitingError
            added = ledger.add_run(
                job_id, client_id=spec.client_id, cause=cause, spec=config, scheduled_for=slot
            )
            if not added:
                raise _WaitingError

        submission = Submission(KIND_LIST, {"spec": config, "cause": cause}, client_id, request_id)
        try:
            accepted = self._jobs.accept(submission, also=enter)
        except _WaitingError:
            return None
        return RunAccepted(run_id=accepted.job_id, job_id=accepted.job_id)

    def take(self, notification: EventNotification, *, client_id: str | None, request_id: str) -> EventsTaken:
        """Take events. The same events any number of times, in any order, make the same jobs."""
        found = heard(
            notification.records or (), bucket=self._bucket, client_id=client_id, now=dt.datetime.now(dt.UTC)
        )
        registered = self._registrar.register(found.sightings, cause="event", request_id=request_id)
        listings = 0
        give_up_at = time.monotonic() + LISTINGS_SECONDS_MAX
        for spec in _to_be_listed(found):
            if time.monotonic() > give_up_at:
                raise DatabaseUnavailableError("deadline")  # the sender comes again: all that is made stays
            listings += self._listed_on_event(spec, request_id)
        taken = EventsTaken(
            new=registered.new, known=registered.known, listings=listings, ignored=found.ignored
        )
        for outcome, count in taken:
            metrics.INGEST_EVENTS.labels(outcome).inc(count)
        log.info(
            "ingest_events_taken",
            new=taken.new,
            known=taken.known,
            listings=taken.listings,
            ignored=taken.ignored,
        )
        return taken

    def _listed_on_event(self, spec: Spec, request_id: str) -> int:
        assert spec.client_id is not None  # noqa: S101  events name their client
        run = self._list(
            spec, client_id=spec.client_id, request_id=request_id, cause="event", unless_waiting=True
        )
        return 0 if run is None else 1

    def run(self, run_id: UUID, *, client_id: str) -> Run:
        """Return what a listing found. Raises ``RunNotFoundError``."""
        with self._database.transaction() as connection:
            run = LedgerReading(connection).run(run_id, client_id)
        if run is None:
            raise RunNotFoundError
        return run

    def files(
        self, *, client_id: str, state: FileState | None, day: dt.date | None, before: int | None, limit: int
    ) -> FilePage:
        """Return a page of the ledger, newest first."""
        with self._database.transaction() as connection:
            found = LedgerReading(connection).files(client_id, state, day, before, limit + 1)
        shown = found[:limit]
        return FilePage(files=shown, next_before=shown[-1].file_id if len(found) > limit else None)

    def file(self, file_id: int, *, client_id: str) -> IngestFileDetail:
        """Return a file with its rejected rows. Raises ``FileNotFoundInLedgerError``."""
        with self._database.transaction() as connection:
            found = LedgerReading(connection).file(file_id, client_id)
        if found is None:
            raise FileNotFoundInLedgerError
        return found

    def days(self, *, client_id: str, before: dt.date | None, limit: int) -> DayPage:
        """Return days, newest first."""
        with self._database.transaction() as connection:
            found = LedgerReading(connection).days(client_id, before, limit + 1)
        shown = found[:limit]
        return DayPage(days=shown, next_before=shown[-1].day if len(found) > limit else None)

    def replay(self, file_id: int, *, client_id: str, request_id: str) -> Replayed:
        """Load a file again. Raises ``FileNotFoundInLedgerError``."""
        with self._database.transaction() as connection:
            file = LedgerReading(connection).ledger_file(file_id, client_id)
        if file is None:
            raise FileNotFoundInLedgerError
        job_id = self._registrar.replay(file, request_id=request_id)
        return Replayed(file_id=file_id, job_id=job_id or file.job_id, already_pending=job_id is None)


def job_intake(settings: Settings, database: Database) -> JobIntake:
    """Return what a worker stores jobs of ingestion with, under the limits that hold for those of an API."""
    return JobIntake(
        database,
        Announcer(settings),
        max_attempts=settings.max_attempts,
        queued_max=settings.client_queued_max,
    )


def _to_be_listed(found: Heard) -> Iterator[Spec]:
    """Return days with a marker or with several files of untold version, and such files that are alone."""
    keys: dict[tuple[str, dt.date], set[str]] = {}
    for place in found.incomplete:
        keys.setdefault((place.client_id, place.day), set()).add(place.key)
    marked = {(place.client_id, place.day) for place in found.markers}
    for client_id, day in sorted(marked | keys.keys()):
        alone = keys.get((client_id, day), set())
        if (client_id, day) in marked or len(alone) > 1:
            yield Spec(client_id, days=(day,))
        else:
            yield Spec(client_id, key=alone.pop())
