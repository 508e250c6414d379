"""Headers of every answer: what browsers must not do with it, and what the caller has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.access.gcra import Decision

SECURITY: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
HSTS: Final = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

GUARDED_STATUSES: Final = (401, 403, 413, 429, 503)
"""What any route that needs a key may answer before it is reached."""

_ALWAYS: Final = tuple((name.encode(), value.encode()) for name, value in SECURITY.items())
_UNLESS_SET: Final = (
    (b"content-security-policy", API_POLICY.encode()),
    (b"cache-control", b"no-store"),
)

OUTSIDE: Final = SECURITY | {name.decode(): value.decode() for name, value in _UNLESS_SET}
"""For the answers that are made outside of the guard: to defects and to preflights."""


def complete(
    headers: list[tuple[bytes, bytes]], *, decision: Decision | None, https: bool
) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with those that belong to every answer."""
    names = {name for name, _ in headers}
    headers += _ALWAYS
    headers += [pair for pair in _UNLESS_SET if pair[0] not in names]
    if https:
        headers.append(HSTS)
    if decision is not None:
        headers += of_decision(decision)
    return headers


def of_decision(decision: Decision) -> list[tuple[bytes, bytes]]:
    """Return what a caller is told about its rate."""
    return [
        (b"ratelimit-limit", b"%d" % decision.rate.per_minute),
        (b"ratelimit-remaining", b"%d" % decision.remaining),
        (b"ratelimit-reset", b"%d" % decision.reset_seconds),
    ]
