"""Jobs of every kind, idempotent, cancellable, claimed fairly, with an audit log."""

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
    op.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_state_check")
    op.execute(
        """
        ALTER TABLE jobs
            ADD COLUMN idempotency_key     text,
            ADD COLUMN request_fingerprint text,
            ADD COLUMN progress_done       bigint,
            ADD COLUMN progress_total      bigint,
            ADD COLUMN cancel_requested_at timestamptz,
            ADD COLUMN events              integer NOT NULL DEFAULT 0,
            ADD COLUMN trace_context       text,
            ADD CONSTRAINT jobs_state_check
                CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'dead', 'cancelled')) NOT VALID,
            ADD CONSTRAINT jobs_priority CHECK (priority BETWEEN 0 AND 9) NOT VALID
        """
    )
    # Most rows of a queue die young: what they leave behind is cleared away before it slows the claims.
    op.execute("ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.05)")
    # Its indexes, and the check of what is stored already, are in 0006: they take long on a big table.
    op.execute("ALTER TABLE records ADD COLUMN epoch bigint")
    op.execute(
        """
        CREATE TABLE job_events (
            job_id    uuid NOT NULL,
            seq       integer NOT NULL,
            client_id text NOT NULL,
            at        timestamptz NOT NULL DEFAULT now(),
            event     text NOT NULL,
            epoch     bigint NOT NULL,
            detail    jsonb,
            PRIMARY KEY (job_id, seq)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE job_events")
    op.execute("ALTER TABLE records DROP COLUMN epoch")
    op.execute("ALTER TABLE jobs RESET (autovacuum_vacuum_scale_factor)")
    op.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_state_check, DROP CONSTRAINT jobs_priority")
    # The code before knew no such state.
    op.execute("UPDATE jobs SET state = 'failed' WHERE state = 'cancelled'")
    op.execute(
        """
        ALTER TABLE jobs
            DROP COLUMN idempotency_key,
            DROP COLUMN request_fingerprint,
            DROP COLUMN progress_done,
            DROP COLUMN progress_total,
            DROP COLUMN cancel_requested_at,
            DROP COLUMN events,
            DROP COLUMN trace_context,
            ADD CONSTRAINT jobs_state_check
                CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'dead')) NOT VALID
        """
    )
    op.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_kind")
    op.execute(
        "ALTER TABLE jobs ADD CONSTRAINT jobs_source_type_check "
        "CHECK (source_type IN ('api', 'database', 'file')) NOT VALID"
    )
