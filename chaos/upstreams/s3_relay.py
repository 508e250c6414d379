"""Carries S3 events to the service: in batches, again when it must, and never without a bound."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import httpx
from prometheus_client import CollectorRegistry, Counter, Gauge

from chaos.upstreams.s3_records import Record

BATCH_MAX = 100
"""Records that the service takes at once."""
PACE_SECONDS = 1.0
"""Between two batches: 60 calls a minute, under the limit of one key."""
DEADLINE_SECONDS = 10.0
BACKOFF_SECONDS_MIN, BACKOFF_SECONDS_MAX = 0.5, 10.0

_TOO_MANY = 429
_TRANSIENT = (408, 425, _TOO_MANY)
_SERVER_ERROR = 500

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unreliability:
    """Shares of the events with which something goes wrong that may go wrong with any notification."""

    duplicate_rate: float = 0.0
    reorder_rate: float = 0.0
    lose_rate: float = 0.0

    def dump(self) -> dict[str, float]:
        """Return it as JSON has it."""
        return asdict(self)


RELIABLE = Unreliability()


def parse_unreliability(document: object) -> tuple[Unreliability, list[dict[str, str]]]:
    """Return what a document says, and all that is wrong with it."""
    if not isinstance(document, dict):
        return RELIABLE, [{"field": "body", "message": "must be an object"}]
    known = {field.name for field in fields(Unreliability)}
    errors = [
        {"field": str(name), "message": f"unknown; use {', '.join(sorted(known))}"}
        for name in sorted(set(document) - known)
    ]
    for name in sorted(known & set(document)):
        value = document[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            errors.append({"field": name, "message": "must be a number from 0 to 1"})
    return (RELIABLE, errors) if errors else (Unreliability(**document), [])


class Metrics:
    """Every metric of the relay."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.webhooks = Counter(
            "lab_s3_webhooks_total",
            "Webhooks of the object store: taken, without an object, garbage, or refused by a full queue.",
            ["outcome"],
            registry=registry,
        )
        self.events = Counter(
            "lab_s3_events_total",
            "Events: delivered, refused by the service, or given up.",
            ["outcome"],
            registry=registry,
        )
        self.retries = Counter(
            "lab_s3_event_retries_total",
            "Calls of the service that failed and were made again.",
            registry=registry,
        )
        self.mishaps = Counter(
            "lab_s3_event_mishaps_total", "Events that went wrong on purpose.", ["kind"], registry=registry
        )
        self.waiting = Gauge("lab_s3_events_waiting", "Events that wait to be delivered.", registry=registry)
        for outcome in ("taken", "ignored", "garbage", "refused"):
            self.webhooks.labels(outcome)
        for outcome in ("delivered", "rejected", "dropped"):
            self.events.labels(outcome)
        for kind in ("duplicated", "reordered", "lost"):
            self.mishaps.labels(kind)


@dataclass(frozen=True)
class Route:
    """Where events go, and how long one is tried."""

    target: str
    key: str
    queue_max: int
    give_up_seconds: float


class Relay:
    """A queue in memory and the one task that empties it. What is lost here, the next listing finds."""

    def __init__(self, route: Route, metrics: Metrics, seed: int) -> None:
        self._route = route
        self._metrics = metrics
        self._waiting: deque[Record] = deque()
        self._arrived = asyncio.Event()
        self._rng = random.Random(seed)  # noqa: S311 - mishaps, not secrets
        self.unreliability = RELIABLE

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def offer(self, records: list[Record]) -> bool:
        """Take all of them or, when they are more than there is room for, none."""
        kept = self._spoilt(records)
        if len(self._waiting) + len(kept) > self._route.queue_max:
            return False
        for record, early in kept:
            if early:
                self._waiting.appendleft(record)
            else:
                self._waiting.append(record)
        self._told()
        if kept:
            self._arrived.set()
        return True

    def _spoilt(self, records: list[Record]) -> list[tuple[Record, bool]]:
        wrong, rng, kept = self.unreliability, self._rng, []
        for record in records:
            if rng.random() < wrong.lose_rate:
                self._metrics.mishaps.labels("lost").inc()
                continue
            early = rng.random() < wrong.reorder_rate
            if early:
                self._metrics.mishaps.labels("reordered").inc()
            kept.append((record, early))
            if rng.random() < wrong.duplicate_rate:
                self._metrics.mishaps.labels("duplicated").inc()
                kept.append((record, not early))
        return kept

    def _told(self) -> None:
        self._metrics.waiting.set(len(self._waiting))

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with httpx.AsyncClient(
            base_url=self._route.target, timeout=DEADLINE_SECONDS, trust_env=False
        ) as http:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(PACE_SECONDS)
                batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                self._told()
                if not self._waiting:
                    self._arrived.clear()
                if batch:
                    await self._deliver(http, batch)

    async def _deliver(self, http: httpx.AsyncClient, batch: list[Record]) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._route.give_up_seconds
        pause_seconds = BACKOFF_SECONDS_MIN
        while True:
            outcome, reason, wanted_seconds = await self._attempt(http, batch)
            if outcome != "again":
                self._metrics.events.labels(outcome).inc(len(batch))
                if outcome == "rejected":
                    _LOGGER.error("events_rejected", extra={"events": len(batch), "reason": reason})
                return
            pause_seconds = min(max(pause_seconds, wanted_seconds), BACKOFF_SECONDS_MAX)
            if loop.time() + pause_seconds > give_up_at:
                self._metrics.events.labels("dropped").inc(len(batch))
                _LOGGER.error("events_dropped", extra={"events": len(batch), "reason": reason})
                return
            self._metrics.retries.inc()
            _LOGGER.warning(
                "events_delayed",
                extra={"events": len(batch), "reason": reason, "pause_seconds": round(pause_seconds, 2)},
            )
            await asyncio.sleep(pause_seconds * self._rng.uniform(0.8, 1.0))
            pause_seconds *= 2

    async def _attempt(self, http: httpx.AsyncClient, batch: list[Record]) -> tuple[str, str, float]:
        """Return what came of it, why, and how long the service wants to be left alone."""
        try:
            # httpx bounds each read and write; this bounds the whole call.
            async with asyncio.timeout(DEADLINE_SECONDS):
                answer = await http.post(
                    "/api/v1/populate/events",
                    json={"Records": batch},
                    headers={"X-API-Key": self._route.key},
                )
        except (httpx.HTTPError, TimeoutError) as error:
            return "again", type(error).__name__, 0.0
        if answer.is_success:
            return "delivered", "", 0.0
        transient = answer.status_code >= _SERVER_ERROR or answer.status_code in _TRANSIENT
        return (
            "again" if transient else "rejected",
            f"{answer.status_code}: {answer.text[:300]}",
            _seconds(answer.headers),
        )


def _seconds(headers: Mapping[str, str]) -> float:
    asked = headers.get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdecimal() else 0.0
