"""What every slice of the API is built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.database.engine import Database
from app.database.slots import DatabaseSlots
from app.jobs.batches import Batches
from app.jobs.service import JobService
from app.jobs.wakeups import Announcer
from app.settings import Settings


@dataclass(frozen=True)
class Context:
    """Shared parts of one API process. Slices reach it as ``request.app.state.context``."""

    settings: Settings
    database: Database
    slots: DatabaseSlots
    announcer: Announcer
    jobs: JobService
    batches: Batches


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(_context)]
"""A parameter of an endpoint that receives the context."""
