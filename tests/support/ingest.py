"""Ingestion without processes: the service's own code on a real database and a real store."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import text

from app.database.engine import Database
from app.ingest.schemas import EventNotification, EventsTaken, PopulateRequest
from app.ingest.service import IngestService
from app.ingest.tasks import handlers
from app.ingest.watch import Watch
from app.jobs.intake import JobIntake
from app.jobs.leases import Leases
from app.jobs.tasks import JobRunner
from app.jobs.wakeups import Announcer
from app.settings import Settings
from tests.support.seaweed import BUCKET, SeaweedServer, event
from tests.support.waiting import eventually

CLIENT = "acme"
IDLE_SECONDS_MAX = 20.0


class Ingestion:
    """One client's view of ingestion, and a worker that works when told to."""

    def __init__(self, database: Database, s3: SeaweedServer, settings: Settings) -> None:
        self.database, self.s3, self.settings = database, s3, settings
        announcer = Announcer(settings)
        intake = JobIntake(database, announcer, max_attempts=3, queued_max=settings.client_queued_max)
        self.service = IngestService(
            database, intake, bucket=BUCKET, max_attempts=settings.ingest_max_attempts
        )
        self.watch = Watch(settings, database)
        kinds = handlers(settings, database)
        self._leases = Leases(database, owner="test", lease_seconds=30, limits=dict.fromkeys(kinds))
        self.runner = JobRunner(database, kinds, self._leases, threading.Event())

    def work(self) -> int:
        """Run what is due. Return how many attempts that took."""
        attempts = 0
        while claimed := self._leases.claim(limit=1, idle=1)[0]:
            self.runner.run(claimed[0])
            attempts += 1
        return attempts

    def work_until_idle(self) -> None:
        """Run everything, what is to be tried again included."""

        def idle() -> bool:
            self.work()
            [(waiting,)] = self.rows("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")
            return bool(waiting == 0)

        eventually(idle, within_seconds=IDLE_SECONDS_MAX, what="no job waits")

    def populate(self, client: str = CLIENT, **request: Any) -> None:
        spec = self.service.check(PopulateRequest.model_validate(request), client_id=client)
        self.service.populate(spec, client_id=client, request_id="test")

    def load(self, day: str, client: str = CLIENT, **request: Any) -> None:
        """Load a day by hand."""
        self.populate(client, day=day, **request)
        self.work_until_idle()

    def hear(self, *records: dict[str, Any], client: str | None = None) -> EventsTaken:
        notification = EventNotification.model_validate({"Records": list(records)})
        return self.service.take(notification, client_id=client, request_id="test")

    def hear_of(self, key: str, version: str, **arguments: Any) -> EventsTaken:
        return self.hear(event(key, version, **arguments))

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.database.transaction() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]

    def states(self, client: str = CLIENT) -> dict[str, str]:
        """Return the state of the last version of every file."""
        sql = "SELECT key, state FROM ingest_files WHERE client_id = :client ORDER BY id"
        return {key.rsplit("/", 1)[1]: state for key, state in self.rows(sql, client=client)}

    def content(self, dataset: str, client: str = CLIENT) -> dict[str, Any]:
        """Return the rows of a dataset by their key."""
        sql = "SELECT row_key, content FROM ingested_rows WHERE client_id = :client AND dataset = :dataset"
        return dict(self.rows(sql, client=client, dataset=dataset))

    def file(self, name: str, client: str = CLIENT) -> Any:
        """Return what the API tells of the last version of a file."""
        page = self.service.files(client_id=client, state=None, day=None, before=None, limit=1000)
        found = next(one for one in page.files if one.key.endswith(f"/{name}"))
        return self.service.file(found.file_id, client_id=client)
