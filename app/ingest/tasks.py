"""The jobs of ingest."""

from __future__ import annotations

from collections.abc import Mapping

from app.database.engine import Database
from app.jobs.handlers import Handler
from app.settings import Settings


def handlers(
    settings: Settings,  # noqa: ARG001  the signature of every slice
    database: Database,  # noqa: ARG001
) -> Mapping[str, Handler]:
    """Return what runs each kind of job."""
    return {}
