"""Avatars: what was asked for, what moderation said, and the image."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The last check is the rule that matters: no image without a verdict that allows it, whatever code says.
    op.execute(
        """
        CREATE TABLE avatars (
            job_id         uuid PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
            client_id      text NOT NULL,
            prompt         text CHECK (octet_length(prompt) BETWEEN 1 AND 16384),
            upload         bytea CHECK (octet_length(upload) <= 1048576),
            content_digest bytea NOT NULL CHECK (octet_length(content_digest) = 32),
            stage          text NOT NULL DEFAULT 'queued'
                           CHECK (stage IN ('queued', 'moderating', 'generating', 'ready', 'rejected')),
            verdict        jsonb,
            moderated_at   timestamptz,
            image          bytea CHECK (octet_length(image) <= 1048576),
            svg            text CHECK (octet_length(svg) <= 1048576),
            created_at     timestamptz NOT NULL DEFAULT now(),
            CHECK ((verdict IS NULL) = (moderated_at IS NULL)),
            CHECK ((stage = 'ready') = (image IS NOT NULL)),
            CONSTRAINT avatars_moderated
                CHECK (image IS NULL OR coalesce(verdict @> '{"allowed": true}', false))
        )
        """
    )
    op.execute("CREATE INDEX avatars_of_client ON avatars (client_id, created_at DESC, job_id DESC)")
    op.execute(
        "CREATE INDEX avatars_moderated_content ON avatars (client_id, content_digest, moderated_at DESC) "
        "WHERE verdict IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP TABLE avatars")
