"""Steps of migrations that keep nobody waiting. See docs/howto/migrations.md."""

from __future__ import annotations

from alembic import op


def create_index(name: str, on: str, *, unique: bool = False) -> None:
    """Create an index while others write: ``on`` is the table with what follows it.

    Outside a transaction, so put it at the end of its revision. It may be run again after a failure.
    """
    kind = "UNIQUE INDEX" if unique else "INDEX"
    with op.get_context().autocommit_block():
        # One that failed half-way is left invalid: used by no query, and in the way of the next attempt.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {kind} CONCURRENTLY {name} ON {on}")


def drop_index(name: str) -> None:
    """Drop an index while others use it. It may be run again after a failure."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
