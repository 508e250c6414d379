"""What the guard and the endpoints of access share in one API process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.access.directory import KeyDirectory
from app.access.keys import Peppers
from app.access.service import KeyService
from app.database.engine import Database
from app.settings import Settings


class Access:
    """Keys, and who remembers them."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.peppers = Peppers.read(settings.access_pepper_file)
        self.directory = KeyDirectory(database.connector, grace_seconds=settings.access_grace_seconds)
        self.keys = KeyService(database, self.peppers)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Hold what belongs to the event loop."""
        try:
            yield
        finally:
            self.directory.close()
