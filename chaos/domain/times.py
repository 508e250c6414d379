"""Times as Prometheus and Alertmanager write them."""

from __future__ import annotations

import datetime as dt
import re

_NANOS = re.compile(r"(\.\d{6})\d+")


def parse_time_unix(text: str) -> float:
    """Return unix seconds of an RFC 3339 time, which Go writes with up to nine decimals."""
    return dt.datetime.fromisoformat(_NANOS.sub(r"\1", text)).timestamp()
