"""How a route announces its end: ``Deprecation`` (RFC 9745), ``Sunset`` (RFC 8594) and its successor."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from typing import Any

from app.telemetry.metrics import access as metrics

NOTICE = timedelta(days=180)
"""Between the first answer that announces the end of a route, and that end."""
_KEY = "x-dcs-deprecation"


def deprecated(*, since: date, sunset: date, successor: str) -> dict[str, Any]:
    """Return what a route that will be removed adds to its decorator: ``@router.get(…, **deprecated(…))``.

    Raises ``ValueError`` when callers would have less time than they were promised.
    """
    if sunset - since < NOTICE:
        msg = f"a route goes {NOTICE.days} days after it was announced, not sooner"
        raise ValueError(msg)
    extra = {"since": since.isoformat(), "sunset": sunset.isoformat(), "successor": successor}
    return {"deprecated": True, "openapi_extra": {_KEY: extra}}


def headers_of(route: object) -> list[tuple[bytes, bytes]]:
    """Return what an answer of this route says about its end; nothing for most."""
    extra = getattr(route, "openapi_extra", None)
    if not extra or _KEY not in extra:
        return []
    told = extra[_KEY]
    metrics.DEPRECATED.labels(getattr(route, "path", "")).inc()
    since = datetime.combine(date.fromisoformat(told["since"]), time(), UTC)
    sunset = datetime.combine(date.fromisoformat(told["sunset"]), time(), UTC)
    return [
        (b"deprecation", b"@%d" % int(since.timestamp())),
        (b"sunset", format_datetime(sunset, usegmt=True).encode()),
        (b"link", f'<{told["successor"]}>; rel="successor-version"'.encode()),
    ]
