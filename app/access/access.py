"""What the guard and the endpoints of access share in one API process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.access.address import TrustedProxies
from app.access.authentication import Authenticator
from app.access.directory import KeyDirectory
from app.access.errors import HeadersTooLargeError, UrlTooLongError
from app.access.keys import Peppers
from app.access.limits import Limits
from app.access.service import KeyService
from app.access.tokens import Tokens
from app.avatars.intake import FORM_OVERHEAD_BYTES_MAX
from app.database.engine import Database
from app.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Scope

UPLOAD_PREFIX = "/api/v1/avatars"


class Access:
    """Keys, tokens and limits, and who remembers them."""

    def __init__(self, settings: Settings, database: Database) -> None:
        peppers = Peppers.read(settings.access_pepper_file)
        self.directory = KeyDirectory(database.connector, grace_seconds=settings.access_grace_seconds)
        self.keys = KeyService(database, peppers)
        self.tokens = Tokens(settings)
        self.limits = Limits(settings, settings.redis_url.get_secret_value())
        self.proxies = TrustedProxies(settings.access_trusted_proxies)
        self.authenticator = Authenticator(
            directory=self.directory,
            peppers=peppers,
            tokens=self.tokens,
            limits=self.limits,
            proxies=self.proxies,
        )
        self._body_bytes_max = settings.access_body_bytes_max
        self._upload_bytes_max = settings.avatars_upload_bytes_max + 2 * FORM_OVERHEAD_BYTES_MAX
        self._headers_bytes_max = settings.access_headers_bytes_max
        self._url_bytes_max = settings.access_url_bytes_max

    def bytes_max(self, path: str) -> int:
        """Return how large a body may be."""
        return self._upload_bytes_max if path.startswith(UPLOAD_PREFIX) else self._body_bytes_max

    def check_head(self, scope: Scope) -> None:
        """Raise ``UrlTooLongError`` or ``HeadersTooLargeError`` for what nobody needs to send."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > self._url_bytes_max:
            raise UrlTooLongError
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._headers_bytes_max:
            raise HeadersTooLargeError

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Hold what belongs to the event loop."""
        await self.limits.start()
        try:
            yield
        finally:
            await self.limits.stop()
            self.directory.close()
