"""A few clients that deliver files: small ones, steadily, and never more of them than a fixed number."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from chaos.traffic.mix import client_name
from chaos.upstreams.bucket import Bucket, BucketError

MARKER = "_SUCCESS"
PARTS = 5
"""Files of a client and day; each is replaced when its turn comes again, so a day has no more of them."""
ROWS = 20
DAYS_BEFORE = 3
"""Complete days before today. Older ones are deleted, as a landing zone's retention would."""
RETRY_SECONDS = 1.0

_STATUS = ("open", "accepted", "resolved")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """One object to put."""

    key: str
    body: bytes


@dataclass(frozen=True)
class Plan:
    """Who delivers what; the same seed delivers the same rows in the same order."""

    clients: int
    every_seconds: float
    seed: int

    def history(self, today: dt.date) -> Iterator[Delivery]:
        """Yield the days before today, the oldest first, each complete."""
        for back in range(DAYS_BEFORE, 0, -1):
            day = today - dt.timedelta(days=back)
            for number in range(1, self.clients + 1):
                yield self.part(number, day, 0, 0)
                yield Delivery(_key(number, day, MARKER), b"")

    def at(self, turn: int, today: dt.date) -> list[Delivery]:
        """Return what is delivered at a turn: a part, and the marker with the last part of a round."""
        number, part = turn % self.clients + 1, turn // self.clients % PARTS
        found = [self.part(number, today, part, turn // (self.clients * PARTS))]
        if part == PARTS - 1:
            found.append(Delivery(_key(number, today, MARKER), b""))
        return found

    def part(self, number: int, day: dt.date, part: int, round_: int) -> Delivery:
        """Return one file of a client."""
        rng = random.Random(f"{self.seed}:{number}:{day}:{part}:{round_}")  # noqa: S311 - data, not secrets
        rows = [
            f"fnd-{part}-{row:03d},asset-{rng.randrange(1000):03d},{rng.randint(1, 5)},{rng.choice(_STATUS)}"
            for row in range(ROWS)
        ]
        body = "\n".join(["id,asset,severity,status", *rows]) + "\n"
        return Delivery(_key(number, day, f"findings.{part}.csv"), body.encode())


def _key(number: int, day: dt.date, name: str) -> str:
    return f"{client_name(number)}/{day.isoformat()}/{name}"


def outdated(key: str, today: dt.date) -> bool:
    """Say whether an object is of a day that nobody looks at any more."""
    try:
        day = dt.date.fromisoformat(key.split("/")[1])
    except (ValueError, IndexError):
        return False
    return day < today - dt.timedelta(days=DAYS_BEFORE)


class Landing:
    """Delivers until cancelled. A store that is away costs deliveries, not the program."""

    def __init__(self, bucket: Bucket, plan: Plan, registry: CollectorRegistry) -> None:
        self._bucket = bucket
        self._plan = plan
        self._objects = Counter(
            "lab_traffic_objects_total", "Objects put into the bucket.", ["outcome"], registry=registry
        )
        for outcome in ("ok", "error"):
            self._objects.labels(outcome)

    async def run(self) -> None:
        """Lay out the days before today once a day, then a delivery at each turn."""
        laid_out: dt.date | None = None
        turn = 0
        while True:
            today = dt.datetime.now(dt.UTC).date()
            if laid_out != today:
                if not await self._lay_out(today):
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                laid_out = today
            for delivery in self._plan.at(turn, today):
                await self._put(delivery)
            turn += 1
            await asyncio.sleep(self._plan.every_seconds)

    async def _lay_out(self, today: dt.date) -> bool:
        for delivery in self._plan.history(today):
            if not await self._put(delivery):
                return False
        try:
            for number in range(1, self._plan.clients + 1):
                await asyncio.to_thread(self._tidy, f"{client_name(number)}/", today)
        except BucketError as error:
            _LOGGER.warning("tidying_failed", extra={"reason": str(error)[:300]})
            return False
        return True

    def _tidy(self, prefix: str, today: dt.date) -> None:
        for key in [key for key in self._bucket.keys(prefix) if outdated(key, today)]:
            self._bucket.delete(key)

    async def _put(self, delivery: Delivery) -> bool:
        try:
            await asyncio.to_thread(self._bucket.put, delivery.key, delivery.body)
        except BucketError as error:
            self._objects.labels("error").inc()
            _LOGGER.warning("delivery_failed", extra={"key": delivery.key, "reason": str(error)[:300]})
            return False
        self._objects.labels("ok").inc()
        return True
