"""What a worker holds, when one job is claimed twice by it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from app.jobs.leases import Leases
from app.jobs.repository import ClaimedJob

JOB = uuid4()


class OneJob:
    """A database whose every claim is the same job, each time of a later epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    @contextlib.contextmanager
    def statement(self) -> Iterator[Any]:
        yield self

    def claim(self, **_: Any) -> tuple[list[ClaimedJob], bool]:
        self.epoch += 1
        return [ClaimedJob(JOB, self.epoch, "acme", "api", {}, 1, 5, 0, None)], False


def test_the_end_of_an_old_attempt_does_not_forget_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.jobs.leases.JobRepository", lambda connection: connection)
    leases = Leases(OneJob(), owner="w", lease_seconds=30, limits={"api": None})  # type: ignore[arg-type]
    [old], _ = leases.claim(limit=1, idle=1)
    [new], _ = leases.claim(limit=1, idle=1)  # it slept past its lease, and got the job again
    assert old.lost
    assert not new.lost
    leases.drop([old])
    assert leases.snapshot() == [new]
    leases.drop([new])
    assert leases.snapshot() == []
