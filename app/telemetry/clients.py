"""Clients as label values: bounded, so that no caller can fill the memory of a monitoring system."""

from __future__ import annotations

import functools
import threading
from typing import Final

from prometheus_client import Counter

from app.telemetry.metrics import runtime

CLIENTS_MAX: Final = 50
_CHILDREN_KEPT_MAX: Final = 512

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


def count_request(client_id: str, status: int) -> None:
    """Count one answered request of an authenticated client."""
    _requests(client_label(client_id), _outcome(status)).inc()


def count_job(client_id: str, outcome: str) -> None:
    """Count a job that was submitted or that ended."""
    _jobs(client_label(client_id), outcome).inc()


# Finding the child of a metric by its labels costs more than counting does.
@functools.lru_cache(maxsize=_CHILDREN_KEPT_MAX)
def _requests(client: str, outcome: str) -> Counter:
    return runtime.CLIENT_REQUESTS.labels(client, outcome)


@functools.lru_cache(maxsize=_CHILDREN_KEPT_MAX)
def _jobs(client: str, outcome: str) -> Counter:
    return runtime.CLIENT_JOBS.labels(client, outcome)


def _outcome(status: int) -> str:
    if status == 429:  # noqa: PLR2004  Too Many Requests
        return "limited"
    return "ok" if status < 400 else "refused" if status < 500 else "failed"  # noqa: PLR2004
