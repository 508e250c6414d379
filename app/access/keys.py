"""What an API key looks like, and what of it is stored.

``dcs_<key id>_<secret>_<crc>``: the id finds the row, the secret (256 bits) proves, the CRC shows a typing
error at once, and a scanner of leaked secrets what it found. A fast hash
is right for a secret of full entropy.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_KEY = re.compile(r"dcs_([a-z2-7]{16})_([0-9a-f]{64})_([0-9a-f]{8})\Z")
KEY_ID_PATTERN = r"^[a-z2-7]{16}$"
_KEY_ID_BYTES = 10
_SECRET_BYTES = 32
PEPPER_BYTES_MIN = 16


class PepperMissingError(Exception):
    """The pepper that a key was hashed with is not in the pepper file."""


@dataclass(frozen=True)
class Key:
    """The parts of a key."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """Return a random key."""
        key_id = base64.b32encode(secrets.token_bytes(_KEY_ID_BYTES)).decode().lower()
        return cls(key_id, secrets.token_hex(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts, or None for what is no key."""
        found = _KEY.match(text)
        if found is None or f"{zlib.crc32(text[:-9].encode()):08x}" != found[3]:
            return None
        return cls(found[1], found[2])

    @property
    def text(self) -> str:
        """What the client keeps and sends."""
        head = f"dcs_{self.key_id}_{self.secret}"
        return f"{head}_{zlib.crc32(head.encode()):08x}"


class Peppers:
    """Secrets that never reach the database: without them its rows prove and sign nothing.

    The first line of the file is used for new keys; older ones stay below it until no key needs them.
    """

    def __init__(self, *peppers: bytes) -> None:
        self._by_id = {_fingerprint(pepper): pepper for pepper in peppers}
        self._current = next(iter(self._by_id), None)

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read the file, one pepper a line. Raises ``ValueError`` for one that is too short."""
        given = path.read_text().splitlines() if path else []
        lines = [line.strip() for line in given if line.strip()]
        if any(len(line) < PEPPER_BYTES_MIN for line in lines):
            msg = f"{path}: a pepper has at least {PEPPER_BYTES_MIN} characters"
            raise ValueError(msg)
        return cls(*(line.encode() for line in lines))

    def hash(self, key: Key) -> str:
        """Return what is stored of a new key."""
        if self._current is None:
            return f"sha256:{hashlib.sha256(_material(key)).hexdigest()}"
        return f"hmac-sha256:{self._current}:{self._hmac(self._current, _material(key))}"

    def matches(self, key: Key, stored: str) -> bool:
        """Return whether this is the key that was stored, in constant time. Raises PepperMissingError."""
        scheme, _, rest = stored.partition(":")
        if scheme == "sha256":
            return hmac.compare_digest(hashlib.sha256(_material(key)).hexdigest(), rest)
        pepper_id, _, digest = rest.partition(":")
        return hmac.compare_digest(self._hmac(pepper_id, _material(key)), digest)

    def signing_secret(self, key_id: str, stored: str) -> str:
        """Return the secret a client signs with: derived, so that it is stored nowhere.

        Raises PepperMissingError for a key that was hashed without a pepper.
        """
        scheme, _, rest = stored.partition(":")
        if scheme == "sha256":
            raise PepperMissingError
        return self._hmac(rest.partition(":")[0], b"signing:" + key_id.encode())

    def _hmac(self, pepper_id: str, material: bytes) -> str:
        pepper = self._by_id.get(pepper_id)
        if pepper is None:
            raise PepperMissingError
        return hmac.digest(pepper, material, "sha256").hex()


def _fingerprint(pepper: bytes) -> str:
    return hashlib.sha256(b"pepper-id:" + pepper).hexdigest()[:8]


def _material(key: Key) -> bytes:
    # With the id, so that hashes cannot change places between rows.
    return f"{key.key_id}.{key.secret}".encode()
