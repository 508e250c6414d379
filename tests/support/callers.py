"""Many callers at once, each on a connection of its own. httpx would spend the machine on its pool."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

CALL_SECONDS_MAX = 30.0


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
