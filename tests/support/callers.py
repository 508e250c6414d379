"""Many callers at once, each on a connection of its own. httpx would spend the machine on its pool."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.waiting import eventually

CALL_SECONDS_MAX = 30.0
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One caller with one kept connection; it connects again when that was closed.

    A kept connection that is found closed before anything was answered is replaced once, as every HTTP
    client does. Anything else that goes wrong with a connection is raised.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        split = urlsplit(url)
        self._host, self._port = split.hostname or "", split.port or 80
        self._headers = dict(headers or {})
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.call("GET", path, b"", headers)

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        sent = {"Content-Type": "application/json", **headers}
        return await self.call("POST", path, json.dumps(body).encode(), sent)

    async def call(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in {**self._headers, **headers}.items()]
        message = "\r\n".join([*lines, "", ""]).encode() + body
        async with asyncio.timeout(CALL_SECONDS_MAX):
            if self._streams is not None:
                try:
                    return await self._exchange(*self._streams, message)
                except (ConnectionError, asyncio.IncompleteReadError) as exc:
                    self.close()
                    if isinstance(exc, asyncio.IncompleteReadError) and exc.partial:
                        raise
            self._streams = await asyncio.open_connection(self._host, self._port)
            return await self._exchange(*self._streams, message)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes
    ) -> Reply:
        writer.write(message)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Reply(int(head[0].split()[1]), headers, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Outcome:
    """How calls went. ``failures`` has every one that a caller would call failed."""

    calls: int = 0
    failures: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0


class Load:
    """Callers that submit jobs and ask for them until the end, each waiting a little between two calls.

    ``urls`` may be changed while it runs; every call goes to one of them in turn.
    """

    def __init__(self, urls: Sequence[str], headers: Mapping[str, str], *, callers: int = 4) -> None:
        self.urls = tuple(urls)
        self.outcome = Outcome()
        self._headers = dict(headers)
        self._callers = callers
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(self._callers)))

    async def _one(self, number: int) -> None:
        kept: dict[str, Caller] = {}
        turn = number
        while not self._end.is_set():
            turn += 1
            url = self.urls[turn % len(self.urls)]
            caller = kept.setdefault(url, Caller(url, self._headers))
            job_id = await self._counted(caller, f"{number}-{turn}", self._submit)
            if job_id is not None:
                self.outcome.jobs.append(job_id)
                await self._counted(caller, job_id, self._ask)
            await asyncio.sleep(PAUSE_SECONDS)
        for caller in kept.values():
            caller.close()

    async def _counted(
        self, caller: Caller, what: str, call: Callable[[Caller, str], Awaitable[Reply]]
    ) -> str | None:
        began = time.monotonic()
        self.outcome.calls += 1
        try:
            reply = await call(caller, what)
        except (OSError, asyncio.IncompleteReadError) as exc:
            self.outcome.failures.append(f"{what}: {exc!r}")
            caller.close()
            return None
        finally:
            self.outcome.longest_seconds = max(self.outcome.longest_seconds, time.monotonic() - began)
        if reply.status not in (200, 202):
            self.outcome.failures.append(f"{what}: {reply.status} {reply.body.decode()[:500]}")
            return None
        return str(reply.json()["job_id"])

    async def _submit(self, caller: Caller, key: str) -> Reply:
        body = {"source_type": "file", "config": {"path": "acme/assets.csv"}}
        return await caller.post("/api/v1/jobs/trigger", body, **{"Idempotency-Key": f"{id(self)}-{key}"})

    async def _ask(self, caller: Caller, job_id: str) -> Reply:
        return await caller.get(f"/api/v1/jobs/status/{job_id}")

    def wait_for(self, calls: int, *, within_seconds: float = 60.0) -> None:
        """Wait until so many more calls were made."""
        target = self.outcome.calls + calls
        eventually(
            lambda: self.outcome.calls >= target, within_seconds=within_seconds, what=f"{calls} more calls"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(CALL_SECONDS_MAX + 5)
