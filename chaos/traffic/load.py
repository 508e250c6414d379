"""An open-loop schedule: requests leave on time whatever the answers do, within a bound."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from chaos.traffic.mix import KINDS, Ask, Client, client_name

OUTCOMES = ("ok", "http_4xx", "http_5xx", "error")
DURATION_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0, 5.0, 10.0)
FAILURE_LOG_INTERVAL_SECONDS = 1.0

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Profile:
    """What load to make."""

    target: str
    clients: int
    rate_each_per_second: float
    seed: int
    concurrency_max: int
    deadline_seconds: float


class Metrics:
    """Every metric of the traffic program."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "lab_traffic_requests_total", "Requests, by outcome.", ["kind", "outcome"], registry=registry
        )
        self.seconds = Histogram(
            "lab_traffic_request_duration_seconds",
            "Time from sending to the whole answer, or to giving up.",
            buckets=DURATION_BUCKETS_SECONDS,
            registry=registry,
        )
        self.skipped = Counter(
            "lab_traffic_skipped_total",
            "Ticks not sent: late (this program stalled) or busy (too many requests in flight).",
            ["reason"],
            registry=registry,
        )
        self.in_flight = Gauge("lab_traffic_requests_in_flight", "Requests in flight.", registry=registry)
        for kind in KINDS:
            for outcome in OUTCOMES:
                self.requests.labels(kind, outcome)
        for reason in ("late", "busy"):
            self.skipped.labels(reason)


def read_keys(directory: Path, clients: int) -> dict[str, str]:
    """Return each client's key, from the file ``<name>.key``. Raises ``OSError`` where one is missing."""
    names = [client_name(number) for number in range(1, clients + 1)]
    return {name: (directory / f"{name}.key").read_text("utf-8").strip() for name in names}


def outcome_of(status_code: int) -> str:
    """Return the closed-set outcome of an answer."""
    if status_code >= 500:  # noqa: PLR2004
        return "http_5xx"
    return "http_4xx" if status_code >= 400 else "ok"  # noqa: PLR2004


class Load:
    """All clients of one profile, on the running event loop."""

    def __init__(self, profile: Profile, keys: Mapping[str, str], metrics: Metrics) -> None:
        self._profile = profile
        self._keys = keys
        self._metrics = metrics
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure_logged = -FAILURE_LOG_INTERVAL_SECONDS
        self._http = httpx.AsyncClient(
            base_url=profile.target,
            timeout=profile.deadline_seconds,
            limits=httpx.Limits(max_connections=profile.concurrency_max),
            trust_env=False,  # the target is local: no proxy of the environment stands between
        )

    async def run(self) -> None:
        """Send until cancelled."""
        clients = [
            Client(number, self._profile.clients, self._profile.seed)
            for number in range(1, self._profile.clients + 1)
        ]
        start = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(self._run_client(client, start))
        finally:
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)
            await self._http.aclose()

    async def _run_client(self, client: Client, start: float) -> None:
        loop = asyncio.get_running_loop()
        period = 1 / self._profile.rate_each_per_second
        tick = start + client.phase * period
        while True:
            await asyncio.sleep(max(0.0, tick - loop.time()))
            missed = int((loop.time() - tick) / period)
            if missed:
                # Catching up would be a burst, which is not steady load.
                self._metrics.skipped.labels("late").inc(missed)
                tick += missed * period
            self._send(client)
            tick += period

    def _send(self, client: Client) -> None:
        ask = client.next()
        if len(self._in_flight) >= self._profile.concurrency_max:
            self._metrics.skipped.labels("busy").inc()
            return
        task = asyncio.create_task(self._request(client, ask))
        self._in_flight.add(task)
        self._metrics.in_flight.set(len(self._in_flight))
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._metrics.in_flight.set(len(self._in_flight))

    async def _request(self, client: Client, ask: Ask) -> None:
        started = time.perf_counter()
        reason: str | None = None
        try:
            # httpx bounds each read and write; this bounds the whole request.
            async with asyncio.timeout(self._profile.deadline_seconds):
                response = await self._http.request(
                    ask.method, ask.path, json=ask.body, headers={"X-API-Key": self._keys[client.name]}
                )
        except (httpx.HTTPError, TimeoutError) as error:
            outcome, reason = "error", type(error).__name__
        else:
            outcome = outcome_of(response.status_code)
            reason = None if outcome == "ok" else str(response.status_code)
            # A result is large and tells of no other job: not worth parsing.
            body = None if ask.kind == "result" else _json(response.content)
            client.learn(ask, response.status_code, body)
        self._metrics.requests.labels(ask.kind, outcome).inc()
        self._metrics.seconds.observe(time.perf_counter() - started)
        if reason is not None:
            self._log_failure(client, ask, outcome, reason)

    def _log_failure(self, client: Client, ask: Ask, outcome: str, reason: str) -> None:
        now = time.monotonic()
        if now - self._failure_logged >= FAILURE_LOG_INTERVAL_SECONDS:
            self._failure_logged = now
            _LOGGER.warning(
                "request_failed",
                extra={"client": client.name, "kind": ask.kind, "outcome": outcome, "reason": reason},
            )


def _json(content: bytes) -> Mapping[str, object] | None:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None
