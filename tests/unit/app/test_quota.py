"""How many jobs of a client are let in while others of it are being counted."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.jobs.errors import QueueFullError
from app.jobs.quota import QueueQuota

AT_ONCE = 4
QUEUED, QUEUED_MAX = 70, 100


def test_what_is_let_in_while_another_counts_is_counted_too() -> None:
    quota = QueueQuota(QUEUED_MAX)
    counting = threading.Barrier(AT_ONCE, timeout=5)

    def count(clients: Sequence[str]) -> Mapping[str, int]:
        counting.wait()  # all have begun to count, and nobody has been let in
        return dict.fromkeys(clients, QUEUED)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        rooms = list(threads.map(lambda _: quota.room({"acme": 20}, count)["acme"], range(AT_ONCE)))
    assert sorted(rooms) == [0, 0, 10, 20]
    with pytest.raises(QueueFullError):
        quota.admit("acme", lambda: QUEUED_MAX)


def test_a_count_serves_until_the_limit_is_near() -> None:
    quota = QueueQuota(QUEUED_MAX)
    counts = 0

    def count() -> int:
        nonlocal counts
        counts += 1
        return QUEUED

    for _ in range(20):
        quota.admit("acme", count)
    assert counts == 1
    quota.admit("acme", count)
    assert counts == 2
