"""Alembic's entry point; ``app.migrate`` passes the connection in."""

from __future__ import annotations

from alembic import context

from app.models import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
