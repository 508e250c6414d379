"""What ingest needs: a ledger of files, the rows they hold, and which days are complete."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE ingest_files (
            id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            client_id      text NOT NULL,
            bucket         text NOT NULL,
            key            text NOT NULL,
            version        text NOT NULL,
            day            date NOT NULL,
            dataset        text NOT NULL,
            size           bigint NOT NULL,
            modified_at    timestamptz NOT NULL,
            verified_at    timestamptz,
            state          text NOT NULL DEFAULT 'pending' CHECK (state IN
                           ('pending', 'loaded', 'quarantined', 'dead', 'superseded', 'gone')),
            rows           bigint NOT NULL DEFAULT 0,
            rejected       bigint NOT NULL DEFAULT 0,
            error          jsonb,
            quarantine_key text,
            job_id         uuid NOT NULL,
            attempts       integer NOT NULL DEFAULT 0,
            created_at     timestamptz NOT NULL DEFAULT now(),
            updated_at     timestamptz NOT NULL DEFAULT now(),
            loaded_at      timestamptz,
            CONSTRAINT ingest_files_once UNIQUE (client_id, bucket, key, version)
        )
        """
    )
    op.execute("CREATE INDEX ingest_files_job ON ingest_files (job_id)")
    op.execute("CREATE INDEX ingest_files_day ON ingest_files (client_id, day)")
    op.execute(
        "CREATE INDEX ingest_files_open ON ingest_files (state) "
        "WHERE state IN ('pending', 'dead', 'quarantined')"
    )
    # No foreign key to the file: its check would cost a look-up for every row of every load.
    op.execute(
        """
        CREATE TABLE ingested_rows (
            client_id text COLLATE "C" NOT NULL,
            dataset   text COLLATE "C" NOT NULL,
            row_key   text COLLATE "C" NOT NULL,
            day       date NOT NULL,
            file_id   bigint NOT NULL,
            content   jsonb NOT NULL,
            CONSTRAINT ingested_rows_once PRIMARY KEY (client_id, dataset, row_key)
        )
        """
    )
    # Rows of a file lie together, so a block range is enough to find them again, and costs nothing to keep.
    op.execute(
        "CREATE INDEX ingested_rows_file ON ingested_rows USING brin (file_id) WITH (autosummarize = on)"
    )
    op.execute(
        """
        CREATE TABLE ingest_rejects (
            file_id    bigint NOT NULL,
            row_number bigint NOT NULL,
            reason     text NOT NULL,
            sample     text NOT NULL,
            PRIMARY KEY (file_id, row_number)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE ingest_days (
            client_id text NOT NULL,
            day       date NOT NULL,
            marked_at timestamptz,
            listed_at timestamptz,
            PRIMARY KEY (client_id, day)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE ingest_runs (
            id            uuid PRIMARY KEY,
            client_id     text,
            cause         text NOT NULL CHECK (cause IN ('schedule', 'event', 'hand')),
            spec          jsonb NOT NULL,
            scheduled_for timestamptz,
            files_new     integer,
            files_known   integer,
            keys_ignored  integer,
            created_at    timestamptz NOT NULL DEFAULT now(),
            finished_at   timestamptz
        )
        """
    )
    # However many workers see that a listing is due, one of them begins it.
    op.execute("CREATE UNIQUE INDEX ingest_runs_slot ON ingest_runs (scheduled_for)")


def downgrade() -> None:
    for table in ("ingest_runs", "ingest_days", "ingest_rejects", "ingested_rows", "ingest_files"):
        op.execute(f"DROP TABLE {table}")
