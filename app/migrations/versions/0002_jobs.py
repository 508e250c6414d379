"""Jobs of every kind, not only of sources."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Kinds belong to the code that runs them: a worker claims only those that it knows.
    op.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_source_type_check")
    op.execute(
        "ALTER TABLE jobs ADD CONSTRAINT jobs_kind CHECK (source_type ~ '^[a-z][a-z0-9_]{0,31}$') NOT VALID"
    )
    op.execute("ALTER TABLE jobs VALIDATE CONSTRAINT jobs_kind")


def downgrade() -> None:
    op.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_kind")
    op.execute(
        "ALTER TABLE jobs ADD CONSTRAINT jobs_source_type_check "
        "CHECK (source_type IN ('api', 'database', 'file')) NOT VALID"
    )
