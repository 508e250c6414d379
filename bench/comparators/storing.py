"""One row per job, on a connection that each thread keeps. Standard library and psycopg2 only."""

from __future__ import annotations

import os
import threading
import uuid

import psycopg2

from bench.work import encoded

_INSERT = "INSERT INTO rows (job_id, ordinal, content) VALUES (%s, 0, %s::jsonb)"
_local = threading.local()


def store(job_id: str, number: int) -> None:
    """Insert and commit."""
    connection = getattr(_local, "connection", None)
    # A connection of the process that forked this one is not for use here.
    if connection is None or _local.pid != os.getpid():
        connection = _local.connection = psycopg2.connect(os.environ["BENCH_DSN"])
        connection.autocommit = True  # one statement, one commit: the fewest round trips there are
        _local.pid = os.getpid()
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, (job_id, encoded(number)))


def new_job_id() -> str:
    """Return the key of a row."""
    return str(uuid.uuid4())
