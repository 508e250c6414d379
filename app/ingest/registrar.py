"""Makes one job for each version of a file, however often and by whom it is told of."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection

from app.database.engine import Database
from app.ingest.repository import Known, LedgerFile, LedgerRepository, Sighting
from app.jobs.errors import QueueFullError
from app.jobs.intake import JobIntake
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

    def __init__(self, database: Database, jobs: JobIntake, *, bucket: str, max_attempts: int) -> None:
        self._database = database
        self._jobs = jobs
        self._bucket = bucket
        self._max_attempts = max_attempts

    def register(
        self, sightings: Iterable[Sighting], *, cause: str, request_id: str, again: Again = Again.NO
    ) -> Found:
        """Make jobs for what is new: a few statements for many files of many clients.

        Raises:
            DatabaseUnavailableError: What was made before stays.
            QueueFullError: Too many jobs of a client are waiting; all that there was room for is made.

        """
        counts: Counter[str] = Counter()
        rest = iter(sightings)
        while batch := list(itertools.islice(rest, BATCH_MAX)):
            counts.update(self._batch(batch, request_id, again))
        metrics.INGEST_SEEN.labels(cause).inc(counts["new"])
        if counts["refused"]:
            raise QueueFullError
        return Found(counts["new"], counts["known"])

    def _batch(self, batch: Sequence[Sighting], request_id: str, again: Again) -> dict[str, int]:
        with self._database.transaction() as connection:
            known = LedgerRepository(connection, self._bucket).known(one.place for one in batch)
        wanted = {
            which: sighting
            for sighting in reversed(batch)  # of two that tell of the same version the first counts
            if (held := known.get(which := (sighting.place.key, sighting.version))) is None
            or _wanted_again(sighting, held, again)
        }
        admitted = self._admitted(list(wanted.values()))
        made = self._make(admitted, known, request_id) if admitted else 0
        refused = len(wanted) - len(admitted)
        return {"new": made, "refused": refused, "known": len(batch) - made - refused}

    def _admitted(self, wanted: Sequence[Sighting]) -> list[Sighting]:
        room = self._jobs.room(Counter(one.place.client_id for one in wanted))
        admitted = []
        for sighting in wanted:
            if room[sighting.place.client_id] > 0:
                room[sighting.place.client_id] -= 1
                admitted.append(sighting)
        return admitted

    def _make(
        self, sightings: Sequence[Sighting], known: Mapping[tuple[str, str], Known], request_id: str
    ) -> int:
        def enter(connection: Connection, job_ids: Sequence[UUID]) -> set[UUID]:
            ledger = LedgerRepository(connection, self._bucket)
            new: dict[UUID, Sighting] = {}
            old: dict[UUID, tuple[int, dt.datetime]] = {}
            for job_id, one in zip(job_ids, sightings, strict=True):
                held = known.get((one.place.key, one.version))
                if held is None:
                    new[job_id] = one
                else:
                    old[job_id] = (held.file.id, one.modified_at)
            return ledger.add(new) | ledger.reopen(old)

        submissions = [
            self._submission(one.place.client_id, one.place.key, one.version, request_id) for one in sightings
        ]
        return self._jobs.accept_many(submissions, enter)

    def replay(self, file: LedgerFile, *, request_id: str) -> UUID | None:
        """Load a version again. Return the job, or None if one is about to."""

        def enter(connection: Connection, job_id: UUID) -> None:
            ledger = LedgerRepository(connection, self._bucket)
            if not ledger.reopen({job_id: (file.id, file.modified_at)}):
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
