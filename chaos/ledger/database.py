"""The final read of the service's tables: read-only, and of this run's jobs only.

It knows the tables as an auditor does. A column that an older schema does not have reads as null; a table
that is missing is named in ``unread``, which no check takes for a PASS.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 the library's own name is lower case

from chaos.errors import AdapterError
from chaos.ledger.ingested import FileRow, Held, Landed
from chaos.ledger.observed import TERMINAL, JobEvent, JobRow, Records

CONNECT_TIMEOUT_SECONDS = 3
STATEMENT_TIMEOUT_MS = 60_000
POLL_SECONDS = 0.5

_JOBS = """
    SELECT id::text, client_id, source_type, state, attempt, max_attempts, rescues, epoch, record_count,
           request_id, to_jsonb(jobs) ->> 'idempotency_key', lease_owner IS NOT NULL,
           CAST(to_jsonb(jobs) ->> 'events' AS int)
    FROM jobs WHERE {ours}
"""
# The key of a record is what its source calls it; see `workload`.
_KEY = "coalesce(content ->> 'finding_id', content ->> 'id', content ->> 'asset_id', content ->> 'key', '?')"
_RECORDS = f"""
    SELECT job_id::text, count(*), count(DISTINCT {_KEY}), md5(string_agg({_KEY}, E'\\n' ORDER BY ordinal)),
           array_agg(DISTINCT to_jsonb(records) ->> 'epoch')
    FROM records WHERE job_id IN (SELECT id FROM jobs WHERE {{ours}})
    GROUP BY job_id
"""  # noqa: S608  no value is put in
_FILES = """
    SELECT client_id, key, version, state, CAST(rows AS int) FROM ingest_files WHERE dataset = %s
"""
_HELD = """
    SELECT r.client_id, f.key, count(*),
           md5(string_agg(r.row_key || '=' || (r.content ->> 'version'), E'\\n' ORDER BY r.row_key))
    FROM ingested_rows AS r JOIN ingest_files AS f ON f.id = r.file_id
    WHERE r.dataset = %s GROUP BY 1, 2
"""
_FILES_WAITING = """
    SELECT (SELECT count(*) FROM ingest_files WHERE dataset = %s AND state = 'pending')
         + (SELECT count(*) FROM jobs WHERE client_id = ANY(%s) AND state <> ALL(%s))
"""
_OURS = "client_id = ANY(%s) AND created_at >= to_timestamp(%s)"


class Tables:
    """The service's database. ``dsn`` are libpq keywords of somebody who may read it."""

    def __init__(self, dsn: Mapping[str, Any], clients: Sequence[str]) -> None:
        self._dsn = dict(dsn)
        self._clients = list(clients)
        self._since_unix = 0.0
        self.unread: tuple[str, ...] = ()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            link = psycopg2.connect(
                **self._dsn,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="lab-ledger",
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on",
            )
        except psycopg2.Error as error:
            raise AdapterError(f"the ledger cannot read the database: {error}".strip()) from error
        try:
            yield link
        except psycopg2.Error as error:
            raise AdapterError(f"the ledger cannot read the database: {error}".strip()) from error
        finally:
            link.close()

    def _rows(self, query: str, *args: Any) -> list[tuple[Any, ...]]:
        with self._connected() as link, link.cursor() as cursor:
            cursor.execute(query, args)
            return cursor.fetchall()

    def begin(self) -> None:
        """Take the database's time: what is older belongs to nobody here."""
        self._since_unix = float(self._rows("SELECT extract(epoch FROM now())")[0][0])

    def unfinished(self) -> int:
        """Return how many of the jobs have not ended."""
        query = f"SELECT count(*) FROM jobs WHERE {_OURS} AND state <> ALL(%s)"  # noqa: S608
        return int(self._rows(query, self._clients, self._since_unix, sorted(TERMINAL))[0][0])

    def count(self) -> int:
        """Return how many jobs there are."""
        return int(self._rows(f"SELECT count(*) FROM jobs WHERE {_OURS}", *self._which())[0][0])  # noqa: S608

    def settle(self, seconds_max: float) -> tuple[bool, float]:
        """Wait until all jobs have ended; return whether they have, and how long that took."""
        started = time.monotonic()
        while (left := self.unfinished()) and time.monotonic() - started < seconds_max:
            time.sleep(POLL_SECONDS)
        return not left, time.monotonic() - started

    def _which(self) -> tuple[list[str], float]:
        return self._clients, self._since_unix

    def jobs(self) -> list[JobRow]:
        """Return every job of the clients since ``begin``."""
        return [JobRow(*row) for row in self._rows(_JOBS.format(ours=_OURS), *self._which())]

    def records(self) -> dict[str, Records]:
        """Return what the jobs hold."""
        found = {}
        for job_id, count, distinct, keys, epochs in self._rows(_RECORDS.format(ours=_OURS), *self._which()):
            if None in epochs:
                self._miss("records.epoch")
            written = tuple(sorted(int(epoch) for epoch in epochs if epoch is not None))
            found[job_id] = Records(count, distinct, keys, written)
        return found

    def _miss(self, name: str) -> None:
        self.unread = tuple(dict.fromkeys((*self.unread, name)))

    def events(self) -> dict[str, list[JobEvent]]:
        """Return the jobs' events in the order they were written."""
        if self._rows("SELECT to_regclass('job_events')")[0][0] is None:
            self._miss("job_events")
            return {}
        query = (
            "SELECT job_id::text, seq, epoch, event, client_id FROM job_events "  # noqa: S608
            f"WHERE job_id IN (SELECT id FROM jobs WHERE {_OURS}) ORDER BY job_id, seq"
        )
        found: dict[str, list[JobEvent]] = defaultdict(list)
        for row in self._rows(query, *self._which()):
            found[row[0]].append(JobEvent(*row))
        return dict(found)

    def effects(self) -> dict[str, str]:
        """Return the stage of every avatar, where the service makes such."""
        if self._rows("SELECT to_regclass('avatars')")[0][0] is None:
            return {}
        query = (
            "SELECT job_id::text, stage FROM avatars "  # noqa: S608  no value is put in
            f"WHERE job_id IN (SELECT id FROM jobs WHERE {_OURS})"
        )
        return dict(self._rows(query, *self._which()))

    def landed(self, dataset: str) -> Landed:
        """Return what became of the files of a data set."""
        files = [FileRow(*row) for row in self._rows(_FILES, dataset)]
        return Landed(files, [Held(*row) for row in self._rows(_HELD, dataset)])

    def files_settle(self, dataset: str, clients: Sequence[str], seconds_max: float) -> bool:
        """Wait until no file of a data set waits, nor a job of its clients; return whether that came."""
        deadline = time.monotonic() + seconds_max
        while self._rows(_FILES_WAITING, dataset, list(clients), sorted(TERMINAL))[0][0]:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def locks(self) -> list[str]:
        """Return what is held or waited for although nothing runs: locks, and transactions left open."""
        waiting = self._rows("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]
        advisory = self._rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")[0][0]
        idle = self._rows(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE state LIKE 'idle in transaction%%' AND now() - state_change > interval '2 s'"
        )[0][0]
        named = (
            (waiting, "locks waited for"),
            (advisory, "advisory locks"),
            (idle, "transactions left open"),
        )
        return [f"{number} {what}" for number, what in named if number]
