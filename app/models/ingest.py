"""Tables of ingestion."""

from __future__ import annotations

import enum

from sqlalchemy import BigInteger, Column, Date, DateTime, Integer, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from app.models.base import metadata


class FileState(enum.StrEnum):
    """Where a version of a file is.

    ``superseded``: a newer version took its place; ``gone``: it was deleted before it was loaded;
    ``dead``: its job was tried often enough; ``quarantined``: what it holds is not fit to be loaded.
    """

    PENDING = "pending"
    LOADED = "loaded"
    QUARANTINED = "quarantined"
    DEAD = "dead"
    SUPERSEDED = "superseded"
    GONE = "gone"


ingest_files = Table(
    "ingest_files",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("modified_at", DateTime(timezone=True), nullable=False),
    Column("verified_at", DateTime(timezone=True)),
    Column("state", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("error", JSONB),
    Column("quarantine_key", Text),
    Column("job_id", Uuid, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("loaded_at", DateTime(timezone=True)),
)

ingested_rows = Table(
    "ingested_rows",
    metadata,
    Column("client_id", Text(collation="C"), primary_key=True),
    Column("dataset", Text(collation="C"), primary_key=True),
    Column("row_key", Text(collation="C"), primary_key=True),
    Column("day", Date, nullable=False),
    Column("file_id", BigInteger, nullable=False),
    Column("content", JSONB, nullable=False),
)

ingest_rejects = Table(
    "ingest_rejects",
    metadata,
    Column("file_id", BigInteger, primary_key=True),
    Column("row_number", BigInteger, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("sample", Text, nullable=False),
)

ingest_days = Table(
    "ingest_days",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("marked_at", DateTime(timezone=True)),
    Column("listed_at", DateTime(timezone=True)),
)

ingest_runs = Table(
    "ingest_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client_id", Text),
    Column("cause", Text, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("scheduled_for", DateTime(timezone=True)),
    Column("files_new", Integer),
    Column("files_known", Integer),
    Column("keys_ignored", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
)
