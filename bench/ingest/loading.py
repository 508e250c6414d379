"""A file on its way in through the service: a worker of it, a real store, and the ledger that says when."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import psycopg2
from botocore.config import Config
from pydantic import SecretStr

from app.ingest.schemas import EventNotification
from app.ingest.service import IngestService
from app.jobs.intake import JobIntake
from app.jobs.wakeups import Announcer
from app.settings import Settings
from bench.http.turn import await_ready
from bench.ingest.files import MadeFile
from bench.ingest.raw import CLIENT, DATASET, DAY
from bench.processes import PYTHON, BenchError, Program, Programs
from bench.servers import OURS, Servers
from tests.support.databases import open_database, target
from tests.support.ports import free_port
from tests.support.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedServer, event

POLL_SECONDS = 0.02
LOAD_SECONDS_MAX = 280.0
IDLE_SECONDS_MAX = 40.0
PUT_SECONDS_MAX = 60.0
SCHEMA = '{"findings": {"key": "id", "required": ["asset"], "types": {"severity": "integer"}}}'
"""What a row must be like: the rules of the lab's own stack."""

_IS_IDLE = "SELECT count(*) > 0 FROM ingest_runs WHERE finished_at IS NOT NULL"
# `loaded_at` is when the transaction began, as PostgreSQL tells time in it.
_ENDED = """
    SELECT f.state, f.rows, f.rejected,
           extract(epoch FROM clock_timestamp() - f.loaded_at)::float,
           extract(epoch FROM clock_timestamp() - j.started_at)::float
    FROM ingest_files AS f JOIN jobs AS j ON j.id = f.job_id WHERE f.key = %s AND f.version = %s
      AND f.state <> 'pending'
"""


def patient_client(s3: SeaweedServer) -> Any:
    """Return a client that waits for a store which stops to make room for a large file."""
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=s3.url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            connect_timeout=PUT_SECONDS_MAX,
            read_timeout=PUT_SECONDS_MAX,
            retries={"total_max_attempts": 3},
            s3={"addressing_style": "path"},
        ),
    )


@dataclass(frozen=True)
class Loaded:
    """Seconds until the rows could be seen, asked for every 20 ms: each as long as it may have been."""

    from_telling: float
    from_claim: float
    """Of the job by the worker: with the download, its digest, and the file written to disk."""
    from_begin: float
    """Of the transaction: COPY to the stage, checks, merge, ledger and job, commit."""


class Ingestion:
    """A worker of the service that loads what it is told of. ``handicap_ms``: see ``ours_worker``."""

    def __init__(
        self,
        servers: Servers,
        s3: SeaweedServer,
        programs: Programs,
        temp_dir: Path,
        *,
        handicap_ms: float = 0.0,
    ) -> None:
        self._servers = servers
        self._s3 = s3
        self._programs = programs
        self._handicap_ms = handicap_ms
        self._settings = {
            **servers.service_settings(),
            **s3.settings(),
            "DCS_INSTANCE": "bench-worker-1",
            "DCS_PORT": str(free_port()),
            "DCS_INGEST_DATASETS": SCHEMA,
            "DCS_INGEST_TEMP_DIR": str(temp_dir),
        }

    def start(self) -> Program:
        """Start the worker, and return when it has nothing left to do."""
        argv: list[str | Path] = [PYTHON, "-m", "app.worker"]
        if self._handicap_ms:
            argv = [PYTHON, "-m", "bench.ingest.ours_worker", "--handicap-ms", str(self._handicap_ms)]
        worker = self._programs.start("ingest-worker", argv, self._settings)
        await_ready(self._programs, int(self._settings["DCS_PORT"]), "/health/live")
        self._ask(_IS_IDLE, (), IDLE_SECONDS_MAX)
        return worker

    def put(self, file: MadeFile, name: str) -> tuple[str, str]:
        """Store a file; return its key and version."""
        key = f"{CLIENT}/{DAY}/{DATASET}.{name}.{file.kind.suffix}"
        with file.path.open("rb") as body, closing(patient_client(self._s3)) as client:
            answer = client.put_object(Bucket=BUCKET, Key=key, Body=body)
        return key, str(answer["ETag"]).strip('"')

    def load(self, file: MadeFile, key: str, version: str) -> Loaded:
        """Tell of a file and wait until its rows are there. Raises unless all are, each once."""
        started = time.perf_counter()
        self._tell(key, version)
        state, rows, rejected, from_begin, from_claim = self._ask(_ENDED, (key, version), LOAD_SECONDS_MAX)
        from_telling = time.perf_counter() - started
        count = f"SELECT count(*) FROM ingested_rows WHERE client_id = '{CLIENT}'"  # noqa: S608  a constant
        stored = self._servers.postgres.rows(count, OURS)
        if (state, rows, rejected, stored) != ("loaded", file.rows, 0, [(file.rows,)]):
            raise BenchError(
                f"{key} was to be loaded with {file.rows} rows: it is {state} with {rows}, "
                f"{rejected} rejected, and {stored} are stored"
            )
        return Loaded(from_telling, from_claim, from_begin)

    def _tell(self, key: str, version: str) -> None:
        settings = Settings(
            database_port=self._servers.postgres.port,
            database_name=OURS,
            redis_url=SecretStr(self._servers.valkey.url),
        )
        with (
            closing(open_database(target(self._servers.postgres.port, OURS))) as database,
            closing(Announcer(settings)) as announcer,
        ):
            intake = JobIntake(database, announcer, max_attempts=1, queued_max=settings.client_queued_max)
            service = IngestService(database, intake, bucket=BUCKET, max_attempts=1)
            told = EventNotification.model_validate({"Records": [event(key, version)]})
            taken = service.take(told, client_id=CLIENT, request_id="bench")
        if taken.new != 1:
            raise BenchError(f"the service was told of a new file, and took it for {taken}")

    def _ask(self, query: str, values: tuple[str, ...], seconds_max: float) -> tuple[Any, ...]:
        """Return the first row of an answer that has one with anything but False in it."""
        give_up_at = time.monotonic() + seconds_max
        dsn = self._servers.plain_dsn.replace("plain", OURS)
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while time.monotonic() < give_up_at:
                self._programs.check()
                cursor.execute(query, values)
                found = cursor.fetchone()
                if found is not None and found[0] is not False:
                    return tuple(found)
                time.sleep(POLL_SECONDS)
        raise BenchError(f"not within {seconds_max:g} s: {query}")
