"""How a value stands in Redis: so that what is not exactly what was written is not believed."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

VERSION = b"dcs1"
_DIGEST_BYTES = 16


class CacheArea(enum.StrEnum):
    """What is cached. The areas share no key."""

    RESULT = "result"
    STATUS = "status"
    SOURCE = "source"


@dataclass(frozen=True)
class CacheKey:
    """What a value is the answer to, and whose. Clients share nothing."""

    area: CacheArea
    client_id: str
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The key in Redis. Another version of this format has other keys."""
        digest = hashlib.sha256()
        for part in (self.client_id, *self.parts):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
        return f"cache:{VERSION.decode()}:{self.area.value}:{digest.hexdigest()[:40]}"


def pack(key: CacheKey, body: bytes) -> bytes:
    """Return what is written for ``body``."""
    return VERSION + _digest(key, body) + body


def unpack(key: CacheKey, written: object) -> bytes | None:
    """Return the body, or None for anything that was not written under this key by this version."""
    start = len(VERSION) + _DIGEST_BYTES
    if not isinstance(written, bytes) or len(written) < start or not written.startswith(VERSION):
        return None
    body = written[start:]
    return body if written[len(VERSION) : start] == _digest(key, body) else None


def _digest(key: CacheKey, body: bytes) -> bytes:
    # The key is part of it: a value that was copied to another key would be another client's.
    return hashlib.blake2b(body, key=key.name.encode()[:64], digest_size=_DIGEST_BYTES).digest()
