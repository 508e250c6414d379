"""Jobs and the records they collect."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE jobs (
            id           uuid PRIMARY KEY,
            client_id    text NOT NULL,
            source_type  text NOT NULL CHECK (source_type IN ('api', 'database', 'file')),
            config       jsonb NOT NULL,
            state        text NOT NULL DEFAULT 'queued'
                         CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'dead')),
            priority     smallint NOT NULL DEFAULT 0,
            run_at       timestamptz NOT NULL DEFAULT now(),
            attempt      integer NOT NULL DEFAULT 0,
            max_attempts integer NOT NULL CHECK (max_attempts > 0),
            rescues      integer NOT NULL DEFAULT 0,
            epoch        bigint NOT NULL DEFAULT 0,
            lease_owner  text,
            lease_until  timestamptz,
            record_count integer NOT NULL DEFAULT 0,
            error        jsonb,
            request_id   text,
            created_at   timestamptz NOT NULL DEFAULT now(),
            updated_at   timestamptz NOT NULL DEFAULT now(),
            started_at   timestamptz,
            finished_at  timestamptz,
            CHECK ((state = 'running') = (lease_until IS NOT NULL))
        )
        """
    )
    op.execute(
        "CREATE INDEX jobs_claim ON jobs (priority DESC, run_at, id) WHERE state = 'queued'",
    )
    op.execute("CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running'")
    op.execute(
        """
        CREATE TABLE records (
            job_id  uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            ordinal integer NOT NULL CHECK (ordinal >= 0),
            content jsonb NOT NULL,
            PRIMARY KEY (job_id, ordinal)
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE records")
    op.execute("DROP TABLE jobs")
