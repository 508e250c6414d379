"""Many callers at once, each on a connection of its own. httpx would spend the machine on its pool."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.waiting import eventually

CALL_SECONDS_MAX = 30.0
PAUSE_SECONDS = 0.02
FILE_JOB: Mapping[str, Any] = {"source_type": "file", "config": {"path": "acme/assets.csv"}}


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
        self.url = url
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
        try:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except asyncio.IncompleteReadError as exc:
            raise OSError("the answer was cut off") from exc  # not to be taken for a call nobody got
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
    answered_by: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0


class Load:
    """Callers that submit jobs and ask for them until the end, each waiting a little between two calls.

    ``urls`` and ``headers`` may be changed while it runs; every call goes to one of the URLs in turn, so a
    job is asked for where it was not submitted. Repeated with its key, a submission counts once.
    """

    def __init__(
        self,
        urls: Sequence[str],
        headers: Mapping[str, str],
        *,
        callers: int = 4,
        jobs: Sequence[Mapping[str, Any]] = (FILE_JOB,),
    ) -> None:
        self.urls = tuple(urls)
        self.headers = dict(headers)
        self.outcome = Outcome()
        self._callers = callers
        self._jobs = tuple(jobs)
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(self._callers)))

    async def _one(self, number: int) -> None:
        kept: dict[str, Caller] = {}

        def caller(turn: int) -> Caller:
            url = self.urls[turn % len(self.urls)]
            return kept.setdefault(url, Caller(url))

        turn = number
        while not self._end.is_set():
            turn += 1
            job_id = await self._counted(caller(turn), f"{number}-{turn}", self._submit)
            if job_id is not None:
                self.outcome.jobs.append(job_id)
                await self._counted(caller(turn + 1), job_id, self._ask)
            await asyncio.sleep(PAUSE_SECONDS)
        for one in kept.values():
            one.close()

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
        self.outcome.answered_by[caller.url] += 1
        return str(reply.json()["job_id"])

    async def _submit(self, caller: Caller, key: str) -> Reply:
        job = self._jobs[int(key.rpartition("-")[2]) % len(self._jobs)]
        headers = {**self.headers, "Idempotency-Key": f"{id(self)}-{key}"}
        return await caller.post("/api/v1/jobs/trigger", job, **headers)

    async def _ask(self, caller: Caller, job_id: str) -> Reply:
        return await caller.get(f"/api/v1/jobs/status/{job_id}", **self.headers)

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
