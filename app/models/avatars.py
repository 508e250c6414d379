"""The table of avatars."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from app.models.base import metadata, timestamp

avatars = Table(
    "avatars",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("prompt", Text),
    Column("upload", LargeBinary),
    Column("content_digest", LargeBinary, nullable=False),
    Column("stage", Text, nullable=False),
    Column("verdict", JSONB),
    timestamp("moderated_at", nullable=True),
    Column("image", LargeBinary),
    Column("svg", Text),
    timestamp("created_at"),
)
