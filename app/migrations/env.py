"""Alembic's entry point; ``app.migrate`` passes the connection in."""

from __future__ import annotations

from alembic import context

from app.models import metadata

connection = context.config.attributes["connection"]
# A revision that takes long, or waits for a lock, must not keep what the ones before it have locked.
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
