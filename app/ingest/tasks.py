"""The jobs of ingest: list a part of the bucket, load a file, put an unfit one aside."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from app.database.engine import Database
from app.ingest.layout import Place, place
from app.ingest.listing import Listed, Lister, Spec
from app.ingest.load import EndFile, Limits, LoadFile, unfit
from app.ingest.quarantine import KIND_QUARANTINE, QuarantineHandler
from app.ingest.registrar import KIND_FILE, Registrar
from app.ingest.repository import Current, LedgerFile, LedgerRepository
from app.ingest.service import KIND_LIST, job_intake
from app.ingest.settings import DatasetSchema
from app.ingest.shapes import Shape, csv_shape, jsonl_shape
from app.ingest.spool import Spool, UnfitError
from app.jobs.errors import QueueFullError
from app.jobs.handlers import Attempt, Effect, Handler, JobError
from app.jobs.repository import ClaimedJob
from app.models import FileState
from app.objectstore import ObjectChangedError, ObjectGoneError, ObjectStoreError
from app.objectstore.client import ObjectStore, StoreTarget
from app.settings import Settings

log = structlog.get_logger()


def _failed(exc: ObjectStoreError) -> JobError:
    return JobError(
        exc.reason, str(exc), retryable=exc.retryable, retry_after_seconds=exc.retry_after_seconds
    )


@dataclass(frozen=True)
class EndRun:
    """The effect of an ``ingest_list`` job."""

    bucket: str
    listed: Listed
    record_count: int | None = 0

    def apply(self, connection: Connection, job: ClaimedJob) -> int:
        """Enter what was found."""
        ledger = LedgerRepository(connection, self.bucket)
        ledger.mark_days((client, day, at) for (client, day), at in self.listed.markers.items())
        ledger.end_run(
            job.id, new=self.listed.found.new, known=self.listed.found.known, ignored=self.listed.ignored
        )
        return 0


class ListHandler:
    """Lists what the job's configuration names."""

    concurrency_max: int | None = 1  # a second one would find the same

    def __init__(self, store: ObjectStore, lister: Lister) -> None:
        self._store = store
        self._lister = lister

    def run(self, attempt: Attempt) -> Effect:
        """List. Raises ``JobError``."""
        job = attempt.job
        try:
            listed = self._lister.run(
                Spec.of_config(job.config["spec"]),
                cause=job.config["cause"],
                request_id=job.request_id or str(job.id),
                progress=attempt.progress,
            )
        except ObjectStoreError as exc:
            raise _failed(exc) from exc
        except QueueFullError as exc:
            # All else is registered. What there was no room for is found again when there is.
            raise JobError(
                "queue_full",
                "too many jobs of a client are waiting",
                retryable=True,
                retry_after_seconds=exc.retry_after_seconds,
                attempted=False,
            ) from exc
        log.info(
            "ingest_listing_completed",
            cause=job.config["cause"],
            files_new=listed.found.new,
            files_known=listed.found.known,
            keys_ignored=listed.ignored,
        )
        return EndRun(self._store.bucket, listed)


class FileHandler:
    """Downloads a file, outside of any transaction; its effect loads it, inside of one."""

    def __init__(self, settings: Settings, database: Database, store: ObjectStore) -> None:
        self.concurrency_max: int | None = settings.ingest_concurrency_max
        self._settings = settings
        self._database = database
        self._store = store

    def run(self, attempt: Attempt) -> Effect:
        """Download. Raises ``JobError``."""
        with self._database.transaction() as connection:
            ledger = LedgerRepository(connection, self._store.bucket)
            file = ledger.of_job(attempt.job.id)
            asked_at = ledger.now()
        if file is None:
            raise JobError("superseded", "another job was made for this file since", retryable=False)
        try:
            return self._fetched(file, asked_at, attempt)
        except ObjectGoneError as exc:
            error = {"reason": "gone", "message": str(exc)}
            return EndFile(file, self._store.bucket, FileState.GONE, error)
        except ObjectChangedError as exc:
            # The version that took its place comes by its own event, or with the next listing.
            error = {"reason": "changed", "message": str(exc)}
            return EndFile(file, self._store.bucket, FileState.SUPERSEDED, error)
        except ObjectStoreError as exc:
            if exc.reason == "too_large":
                return unfit(file, self._store.bucket, UnfitError(exc.reason, str(exc)), None)
            raise _failed(exc) from exc
        except OSError as exc:
            message = f"{self._settings.ingest_temp_dir}: {exc.strerror}"
            raise JobError("temp_dir", message, retryable=True) from exc

    def _fetched(self, file: LedgerFile, asked_at: dt.datetime, attempt: Attempt) -> Effect:
        settings, where = self._settings, place(file.key)
        spool = Spool(
            settings.ingest_temp_dir, gzipped=where.gzipped, bytes_max=settings.ingest_file_bytes_max
        )
        received = 0

        def write(data: bytes) -> None:
            nonlocal received
            received += len(data)
            attempt.progress.check()
            attempt.progress.report(received, file.size)
            spool.write(data)

        current = None
        try:
            stored = self._store.fetch(
                file.key, file.version, write, bytes_max=settings.ingest_file_bytes_max
            )
            current = Current(stored.modified_at, asked_at)
            spool.finish()
            shape, body_at, width = self._shape(where, spool)
        except UnfitError as exc:
            return unfit(file, self._store.bucket, exc, current)
        return LoadFile(
            file=file,
            place=where,
            bucket=self._store.bucket,
            spool=spool,
            shape=shape,
            body_at=body_at,
            width=width,
            current=current,
            limits=Limits(settings.ingest_deadline_seconds, settings.ingest_rejected_fraction_max),
            check=attempt.progress.check,
        )

    def _shape(self, where: Place, spool: Spool) -> tuple[Shape, int, int]:
        schema = self._settings.ingest_datasets.get(where.dataset or "", DatasetSchema())
        if where.format == "jsonl":
            return jsonl_shape(schema), 0, 1
        columns, body_at = spool.header()
        return csv_shape(columns, schema), body_at, len(columns)


def handlers(settings: Settings, database: Database) -> Mapping[str, Handler]:
    """Return what runs each kind of job; nothing where no bucket is set."""
    target = StoreTarget.of(settings)
    if target is None:
        return {}
    store = ObjectStore(target)
    jobs = job_intake(settings, database)
    registrar = Registrar(database, jobs, bucket=store.bucket, max_attempts=settings.ingest_max_attempts)
    return {
        KIND_FILE: FileHandler(settings, database, store),
        KIND_LIST: ListHandler(store, Lister(store, registrar)),
        KIND_QUARANTINE: QuarantineHandler(store),
    }
