"""What clients can do with jobs."""

from __future__ import annotations

from uuid import UUID

import structlog

from app.database.engine import Database
from app.errors import FieldError, InvalidRequestError, JobNotFoundError
from app.jobs.caching import FinishedJobs
from app.jobs.errors import JobFinishedError, JobNotReplayableError
from app.jobs.intake import JobIntake
from app.jobs.reader import JobReader, shown
from app.jobs.repository import JobRepository
from app.jobs.schemas import JobAccepted, JobStatus
from app.jobs.wakeups import Announcer
from app.models import JobState
from app.sources import SourceRefusedError
from app.sources.catalogue import Catalogue, SourceSpec
from app.telemetry import clients, metrics
from app.telemetry.metrics.jobs import JOBS_REPLAYED

log = structlog.get_logger()


class JobService:
    """What clients decide about jobs. ``intake`` stores new ones, ``reader`` tells about them."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        announcer: Announcer,
        *,
        max_attempts: int,
        queued_max: int = 20_000,
        finished: FinishedJobs | None = None,
    ) -> None:
        self.reader = JobReader(database, finished)
        self.intake = JobIntake(database, announcer, max_attempts=max_attempts, queued_max=queued_max)
        self._database = database
        self._catalogue = catalogue
        self._announcer = announcer

    def check_may_wait(self, spec: SourceSpec) -> bool:
        """Return whether ``check`` needs a thread."""
        return self._catalogue.check_may_wait(spec)

    def check(self, spec: SourceSpec, *, client_id: str) -> None:
        """Refuse what no worker would collect, without the database. Raises ``InvalidRequestError``."""
        try:
            self._catalogue.check(spec, client_id=client_id)
        except SourceRefusedError as exc:
            log.warning(
                exc.event, source_type=spec.source_type.value, field=f"config.{exc.field}", reason=str(exc)
            )
            raise InvalidRequestError(FieldError(f"config.{exc.field}", str(exc))) from exc

    def cancel(self, job_id: UUID, *, client_id: str) -> JobStatus:
        """Cancel a job: at once if it is queued, soon if it runs. Doing so again changes nothing.

        Raises:
            JobNotFoundError: The client has no such job.
            JobFinishedError: It has ended otherwise.

        """
        with self._database.transaction() as connection:
            repository = JobRepository(connection)
            decided = repository.cancel(job_id, client_id)
            row = repository.find(job_id, client_id)
        if decided is None or row is None:
            raise JobNotFoundError
        if decided.state.finished and decided.state is not JobState.CANCELLED:
            raise JobFinishedError
        if decided.changed and decided.state is JobState.CANCELLED:
            metrics.JOBS_FINISHED.labels(row.source_type, JobState.CANCELLED.value).inc()
            clients.count_job(client_id, JobState.CANCELLED.value)
        if decided.changed:
            log.info("job_cancel_requested", job_id=str(job_id), status=decided.state.value)
        return shown(row)

    def replay(self, job_id: UUID, *, client_id: str) -> JobAccepted:
        """Queue a dead or failed job again, with all its attempts.

        Raises:
            JobNotFoundError: The client has no such job.
            JobNotReplayableError: It is neither dead nor failed.
            QueueFullError: Too many of the client's jobs are waiting.

        """
        self.intake.admit(client_id)
        with self._database.statement() as connection:
            decided = JobRepository(connection).replay(job_id, client_id)
        if decided is None:
            raise JobNotFoundError
        if not decided.changed:
            raise JobNotReplayableError
        JOBS_REPLAYED.inc()
        log.info("job_replayed", job_id=str(job_id))
        self._announcer.announce()
        return JobAccepted(job_id=job_id, status=JobState.QUEUED)
