"""Signed requests, for keys that demand them: a key that leaked, say by a log of the client, opens nothing.

What is signed is, one a line: ``v1``, the method, path and query as sent, the SHA-256 of the body in hex, the
time in whole seconds, a nonce. The signature is the HMAC-SHA256 of that with the signing secret, in hex.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.access.errors import SignatureInvalidError

WINDOW_SECONDS: Final = 300
"""How far a clock may be off, either way."""
NONCE_SECONDS: Final = 2 * WINDOW_SECONDS + 1
"""How long a nonce is remembered: as long as any time that was signed with it is believed."""
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}\Z")
_TIME = re.compile(r"\d{1,12}\Z")
_SIGNATURE = re.compile(r"v1=([0-9a-f]{64})\Z")


@dataclass(frozen=True)
class Signed:
    """The parts of a signature."""

    timestamp: str
    nonce: str
    signature: str


def sign(secret: str, *, method: str, target: str, body: bytes, timestamp: str, nonce: str) -> str:
    """Return the signature of a request; ``target`` is its path and query."""
    digest = hashlib.sha256(body).hexdigest()
    text = f"v1\n{method}\n{target}\n{digest}\n{timestamp}\n{nonce}"
    return hmac.new(secret.encode(), text.encode("latin-1"), "sha256").hexdigest()


def parts(headers: Mapping[str, str]) -> Signed:
    """Return what a request says of its signature. Raises ``SignatureInvalidError``."""
    timestamp, nonce = headers.get("x-timestamp", ""), headers.get("x-nonce", "")
    signature = _SIGNATURE.match(headers.get("x-signature", ""))
    if signature is None or not _TIME.match(timestamp) or not _NONCE.match(nonce):
        raise SignatureInvalidError(
            "The key demands signed requests: send `X-Timestamp`, `X-Nonce` and `X-Signature: v1=…`."
        )
    if abs(time.time() - int(timestamp)) > WINDOW_SECONDS:
        raise SignatureInvalidError(
            f"`X-Timestamp` is more than {WINDOW_SECONDS} s away from this server's time. Check your clock."
        )
    return Signed(timestamp, nonce, signature[1])


def check(signed: Signed, secret: str, *, method: str, target: str, body: bytes) -> None:
    """Raise ``SignatureInvalidError`` unless the request is what was signed."""
    wanted = sign(
        secret, method=method, target=target, body=body, timestamp=signed.timestamp, nonce=signed.nonce
    )
    if not hmac.compare_digest(wanted, signed.signature):
        raise SignatureInvalidError
