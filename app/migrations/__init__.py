"""Migrations of the service's schema (Alembic)."""

from __future__ import annotations

HEAD = "0006"
"""The revision this code needs. Revisions are numbered, so a newer schema compares as greater."""
