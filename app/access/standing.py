"""Whether whoever was let in still would be: for answers that may last longer than their key."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from app.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from app.access.directory import KeyDirectory
    from app.access.principal import Principal, Scope

ASK_AGAIN_SECONDS = 2.0
"""Beside what the directory remembers: a stream ends at most this much later than requests are refused."""

log = structlog.get_logger()


class Standing:
    """The standing of one caller while one answer lasts. Used on the event loop."""

    def __init__(self, directory: KeyDirectory, principal: Principal, scope: Scope) -> None:
        self._directory = directory
        self._principal = principal
        self._scope = scope
        self._asked_at = time.monotonic()
        self._lost = False

    async def holds(self) -> bool:
        """Return whether the caller's key still opens this; not if that cannot be known any more."""
        key_id = self._principal.key_id
        if key_id is None or time.monotonic() - self._asked_at < ASK_AGAIN_SECONDS:
            return not self._lost
        try:
            record = await self._directory.find(key_id)
        except DatabaseUnavailableError as exc:
            reason = exc.reason
        else:
            if record is not None and record.active and self._scope in record.scopes:
                self._asked_at = time.monotonic()
                return True
            reason = "key"
        if not self._lost:
            self._lost = True
            log.info("stream_standing_lost", key_id=key_id, reason=reason)
        return False
