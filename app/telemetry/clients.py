"""Clients as label values: bounded, so that no caller can fill the memory of a monitoring system."""

from __future__ import annotations

import threading
from typing import Final

from app.telemetry.metrics import runtime

CLIENTS_MAX: Final = 50

_lock = threading.Lock()
_known: set[str] = set()


def client_label(client_id: str) -> str:
    """Return the client's own label while there are at most 50 of them, else ``other``."""
    if client_id in _known:
        return client_id
    with _lock:
        if client_id not in _known:
            if len(_known) >= CLIENTS_MAX:
                return runtime.OTHER_CLIENTS
            runtime.initialise_client(client_id)
            _known.add(client_id)
    return client_id


def count_request(client_id: str, status: int, number: int = 1) -> None:
    """Count one or more answered requests of an authenticated client."""
    runtime.CLIENT_REQUESTS.labels(client_label(client_id), _outcome(status)).inc(number)


def count_job(client_id: str, outcome: str, number: int = 1) -> None:
    """Count one or more jobs that were submitted or that ended."""
    runtime.CLIENT_JOBS.labels(client_label(client_id), outcome).inc(number)


def _outcome(status: int) -> str:
    if status == 429:  # noqa: PLR2004  Too Many Requests
        return "limited"
    return "ok" if status < 400 else "refused" if status < 500 else "failed"  # noqa: PLR2004
