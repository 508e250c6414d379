"""What takes long on a big table of jobs and keeps nobody waiting: indexes, and checks of old rows."""

from __future__ import annotations

from alembic import op

from app.migrations.steps import create_index, drop_index

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = {
    "jobs_idempotency": "jobs (client_id, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "jobs_list": "jobs (client_id, created_at DESC, id DESC)",
    # A shelf is what one client has queued of one kind and priority; claims look at the front of each.
    "jobs_shelves": "jobs (client_id, source_type, priority, run_at, id) WHERE state = 'queued'",
    "jobs_dead": "jobs (client_id, created_at DESC, id DESC) WHERE state = 'dead'",
    "jobs_finished": "jobs (finished_at) WHERE finished_at IS NOT NULL",
}


def upgrade() -> None:
    for constraint in ("jobs_kind", "jobs_state_check", "jobs_priority"):
        op.execute(f"ALTER TABLE jobs VALIDATE CONSTRAINT {constraint}")
    for name, on in INDEXES.items():
        create_index(name, on, unique=name == "jobs_idempotency")


def downgrade() -> None:
    for name in INDEXES:
        drop_index(name)
