"""Clients and their API keys. Only hashes of secrets are stored."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE clients (
            id         text PRIMARY KEY CHECK (id ~ '^[a-z0-9-]{1,64}$'),
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute(
        """
        CREATE TABLE api_keys (
            key_id                text PRIMARY KEY CHECK (key_id ~ '^[a-z2-7]{16}$'),
            client_id             text NOT NULL REFERENCES clients (id),
            secret_hash           text NOT NULL
                                  CHECK (secret_hash ~ '^(sha256|hmac-sha256:[0-9a-f]{8}):[0-9a-f]{64}$'),
            scopes                text[] NOT NULL CHECK (cardinality(scopes) > 0),
            rate_limit_per_minute integer CHECK (rate_limit_per_minute > 0),
            burst                 integer CHECK (burst > 0),
            ip_allowlist          text[] NOT NULL DEFAULT '{}',
            signing_required      boolean NOT NULL DEFAULT false,
            created_at            timestamptz NOT NULL DEFAULT now(),
            expires_at            timestamptz,
            revoked_at            timestamptz,
            last_used_at          timestamptz
        )
        """
    )
    op.execute("CREATE INDEX api_keys_client ON api_keys (client_id)")


def downgrade() -> None:
    op.execute("DROP TABLE api_keys")
    op.execute("DROP TABLE clients")
