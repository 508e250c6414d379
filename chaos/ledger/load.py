"""The clients together: submissions on a schedule, until it is said to stop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from chaos.ledger.background import Background
from chaos.ledger.client import Client, Tally
from chaos.ledger.history import History
from chaos.ledger.workload import KINDS, Work, work

REQUEST_TIMEOUT_SECONDS = 4.0
IN_FLIGHT_EACH_MAX = 8
TWICE_PERCENT = 3
"""So many submissions are made twice at the same moment with the same key."""
_STOP_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Profile:
    """What load to make. ``headers`` by client are how it says who it is."""

    target: str
    headers: Mapping[str, Mapping[str, str]]
    rate_per_second: float
    seed: int
    prefix: str
    """Of every idempotency key, so that no two runs share one."""
    kinds: Sequence[str] = KINDS


class Load(Background):
    """Runs in a thread of its own. Nothing of it lives longer than ``stop``."""

    def __init__(self, profile: Profile, history: History) -> None:
        super().__init__("ledger-load")
        self.tally = Tally()
        self._profile = profile
        self._history = history

    def stop(self, seconds_max: float) -> None:
        """Submit nothing new, and keep at what was begun for ``seconds_max``."""
        self._end(seconds_max, join_seconds_max=seconds_max + 2 * REQUEST_TIMEOUT_SECONDS)

    def _work(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=len(self._profile.headers) * IN_FLIGHT_EACH_MAX)
        # The target is on this machine: no proxy of the environment stands between.
        async with (
            httpx.AsyncClient(
                base_url=self._profile.target, timeout=REQUEST_TIMEOUT_SECONDS, limits=limits, trust_env=False
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            clients = [
                Client(name, http, headers, self._history, self.tally)
                for name, headers in self._profile.headers.items()
            ]
            for number, client in enumerate(clients):
                group.create_task(self._client(client, number, len(clients), group))

    async def _client(self, client: Client, number: int, clients: int, group: asyncio.TaskGroup) -> None:
        rng = random.Random(f"{self._profile.seed}:{client.name}")  # noqa: S311  load, not secrets
        period = clients / self._profile.rate_per_second
        tick = time.monotonic() + period * number / clients
        room = asyncio.Semaphore(IN_FLIGHT_EACH_MAX)
        sequence = 0
        while not self._stop.is_set():
            pause = tick - time.monotonic()
            if pause > 0:
                await asyncio.sleep(min(pause, _STOP_POLL_SECONDS))
                continue
            # What was missed is not caught up with: a burst is no steady load.
            tick = max(tick + period, time.monotonic() - period)
            await room.acquire()
            key = f"{self._profile.prefix}-{client.name}-{sequence}"
            sequence += 1
            drawn = work(rng, self._profile.kinds)
            twice = rng.randrange(100) < TWICE_PERCENT
            group.create_task(self._submit(client, key, drawn, room.release, twice=twice))

    async def _submit(
        self, client: Client, key: str, drawn: Work, done: Callable[[], None], *, twice: bool
    ) -> None:
        try:
            calls = [self._until_answered(client, key, drawn) for _ in range(2 if twice else 1)]
            if any(await asyncio.gather(*calls)):
                self.tally.jobs += 1
        finally:
            done()

    async def _until_answered(self, client: Client, key: str, drawn: Work) -> str | None:
        return await client.submit(key, drawn, give_up_at=lambda: self._give_up_at)
