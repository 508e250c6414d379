"""Makes one job for each version of a file, however often and by whom it is told of."""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection

from app.database.engine import Database
from app.ingest.repository import Known, LedgerFile, LedgerRepository, Sighting
from app.jobs.service import JobService
from app.jobs.submission import Submission
from app.models import FileState
from app.telemetry.metrics import ingest as metrics

KIND_FILE = "ingest_file"
BATCH_MAX = 500

log = structlog.get_logger()


class Again(enum.Enum):
    """Which versions that the ledger has are to be loaded again."""

    NO = enum.auto()
    FAILED = enum.auto()  # somebody asks by hand: what is dead may work by now
    ALL = enum.auto()


class _TakenError(Exception):
    """Somebody else has made the job meanwhile."""


@dataclass(frozen=True)
class Found:
    """How many versions were new to the ledger or are loaded again, and how many were not."""

    new: int = 0
    known: int = 0


class Registrar:
    """The one way into the ledger. The unique key of the ledger decides who is first."""

    def __init__(self, database: Database, jobs: JobService, *, bucket: str, max_attempts: int) -> None:
        self._database = database
        self._jobs = jobs
        self._bucket = bucket
        self._max_attempts = max_attempts

    def register(
        self, sightings: Iterable[Sighting], *, cause: str, request_id: str, again: Again = Again.NO
    ) -> Found:
        """Make jobs for what is new. Raises ``DatabaseUnavailableError``; what was made then stays."""
        counts: Counter[bool] = Counter()
        for client_id, group in itertools.groupby(sightings, lambda one: one.place.client_id):
            while batch := list(itertools.islice(group, BATCH_MAX)):
                known = self._known(client_id, batch)
                for sighting in batch:
                    held = known.get((sighting.place.key, sighting.version))
                    counts[self._one(sighting, held, request_id, again)] += 1
        metrics.INGEST_SEEN.labels(cause).inc(counts[True])
        return Found(counts[True], counts[False])

    def _known(self, client_id: str, batch: Sequence[Sighting]) -> dict[tuple[str, str], Known]:
        with self._database.transaction() as connection:
            ledger = LedgerRepository(connection, self._bucket)
            return ledger.known(client_id, [one.place.key for one in batch])

    def _one(self, sighting: Sighting, held: Known | None, request_id: str, again: Again) -> bool:
        place = sighting.place

        def enter(connection: Connection, job_id: UUID) -> None:
            ledger = LedgerRepository(connection, self._bucket)
            if held is None:
                entered = ledger.add(sighting, job_id)
            else:
                entered = ledger.reopen(held.file.id, job_id, sighting.modified_at)
            if not entered:
                raise _TakenError

        if held is not None and not _wanted_again(sighting, held, again):
            return False
        try:
            self._jobs.accept(
                self._submission(place.client_id, place.key, sighting.version, request_id), also=enter
            )
        except _TakenError:
            return False
        return True

    def replay(self, file: LedgerFile, *, request_id: str) -> UUID | None:
        """Load a version again. Return the job, or None if one is about to."""

        def enter(connection: Connection, job_id: UUID) -> None:
            if not LedgerRepository(connection, self._bucket).reopen(file.id, job_id, file.modified_at):
                raise _TakenError

        try:
            accepted = self._jobs.accept(
                self._submission(file.client_id, file.key, file.version, request_id), also=enter
            )
        except _TakenError:
            return None
        log.info("ingest_file_replayed", file_id=file.id, key=file.key, was=file.state.value)
        return accepted.job_id

    def _submission(self, client_id: str, key: str, version: str, request_id: str) -> Submission:
        config = {"bucket": self._bucket, "key": key, "version": version}
        return Submission(KIND_FILE, config, client_id, request_id, max_attempts=self._max_attempts)


def _wanted_again(sighting: Sighting, held: Known, again: Again) -> bool:
    state = held.file.state
    if state is FileState.PENDING:
        return False
    if again is Again.ALL or state is FileState.GONE:
        return True
    if again is Again.FAILED and state is FileState.DEAD:
        return True
    # It was put, another took its place, and it was put once more.
    return (
        state is FileState.SUPERSEDED
        and held.others_modified_at is not None
        and sighting.modified_at >= held.others_modified_at
    )
