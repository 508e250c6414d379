"""One connection to Redis for all requests of a process, on the event loop.

Commands are sent as they come and answered in order, so a request costs one write and one read. The request
path never connects, never retries and waits for an answer at most its budget: whoever cannot be answered is
told so at once, while the link is mended in the background. That is the circuit breaker: open while there is
no connection, half open while the mending tries one, closed when that one has answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import redis
from redis.connection import parse_url

from app.redis_client import record_redis_error, tls_context

CONNECT_SECONDS_MAX: Final = 1.0
MEND_INTERVAL_SECONDS: Final = 0.5
IN_FLIGHT_MAX: Final = 5_000

Reply = bytes | int | list[Any] | None
_CRLF = b"\r\n"


def encode(*words: bytes) -> bytes:
    """Return a command as Redis wants it."""
    return b"*%d\r\n%b" % (
        len(words),
        b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]),
    )


class _Incomplete(Exception):  # noqa: N818  not an error: the rest is still on its way
    """The answer goes on in bytes that have not come yet."""


def _parse(data: bytes, at: int) -> tuple[Reply | redis.ResponseError, int]:
    end = data.find(_CRLF, at)
    if end < 0:
        raise _Incomplete
    kind, line, after = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b":":
        return int(line), after
    if kind == b"+":
        return line, after
    if kind == b"-":
        return redis.ResponseError(line.decode(errors="replace")), after
    if kind == b"$":
        length = int(line)
        if length < 0:
            return None, after
        if len(data) < after + length + 2:
            raise _Incomplete
        return data[after : after + length], after + length + 2
    if kind == b"*":
        items: list[Any] = []
        for _ in range(int(line)):
            item, after = _parse(data, after)
            items.append(item)
        return items, after
    raise redis.InvalidResponse(f"an answer cannot begin with {kind!r}")


class _Connection(asyncio.Protocol):
    """Matches answers to questions."""

    def __init__(self, budget_seconds: float, lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._budget_seconds = budget_seconds
        self._lost = lost
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self.error: redis.RedisError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is none of asyncio's

    def ask(self, command: bytes) -> asyncio.Future[Reply]:
        """Send a command. Its answer comes, or an error, within the budget."""
        if self._transport is None or self.error is not None:
            raise redis.ConnectionError("the connection is lost")
        if len(self._waiting) >= IN_FLIGHT_MAX:
            raise redis.ConnectionError("too many requests wait for Redis")
        future: asyncio.Future[Reply] = self._loop.create_future()
        now = self._loop.time()
        self._waiting.append((future, now))
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._budget_seconds, self._check)
        self._transport.write(command)
        return future

    def _check(self) -> None:
        # One timer for all: it looks at the oldest question.
        self._timer = None
        if not self._waiting:
            return
        due = self._waiting[0][1] + self._budget_seconds
        if due <= self._loop.time() + 0.001:
            self.fail(redis.TimeoutError(f"no answer within {self._budget_seconds:g} s"))
        else:
            self._timer = self._loop.call_at(due, self._check)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        try:
            while at < len(self._buffer):
                reply, at = _parse(self._buffer, at)
                if not self._waiting:
                    raise redis.InvalidResponse("an answer to no question")
                future, _ = self._waiting.popleft()
                if future.done():  # whoever asked has gone
                    continue
                if isinstance(reply, redis.RedisError):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except _Incomplete:
            pass
        except (redis.RedisError, ValueError) as exc:
            self.fail(redis.InvalidResponse(str(exc)))
        self._buffer = self._buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(redis.ConnectionError(f"the connection is lost: {exc or 'closed by the server'}"))

    def fail(self, error: redis.RedisError) -> None:
        """End the connection and everything that waits for it."""
        if self.error is not None:
            return
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)
                future.exception()  # looked at: whoever asked may have gone
        self._lost()


class RedisLink:
    """A connection that is mended in the background, and a script that is there when it is."""

    def __init__(self, url: str, *, budget_seconds: float, script: str) -> None:
        self._target: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        self._budget_seconds = budget_seconds
        self._script = script.encode()
        self._sha = b""
        self._connection: _Connection | None = None
        self._broken = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """Whether a command would be sent."""
        return self._connection is not None

    async def start(self) -> None:
        """Connect, but wait for that no longer than requests would."""
        self._task = asyncio.create_task(self._keep())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._budget_seconds):
                await self._tried.wait()

    async def stop(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.fail(redis.ConnectionError("the service stops"))

    async def command(self, *words: bytes) -> Reply:
        """Send a command and return its answer. Raises ``redis.RedisError`` within the budget."""
        connection = self._connection
        if connection is None:
            raise redis.ConnectionError("there is no connection")
        try:
            return await connection.ask(encode(*words))
        except redis.RedisError as exc:
            if exc is connection.error:
                raise type(exc)(*exc.args) from None  # one for each who waited
            raise

    async def run_script(self, key: bytes, *arguments: bytes) -> Reply:
        """Run the script on a key."""
        try:
            return await self.command(b"EVALSHA", self._sha, b"1", key, *arguments)
        except redis.ResponseError as exc:
            if not str(exc).startswith("NOSCRIPT"):
                raise
        return await self.command(b"EVAL", self._script, b"1", key, *arguments)  # which keeps it, too

    async def _keep(self) -> None:
        while True:
            self._broken.clear()
            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    self._connection = await self._connect()
            except TimeoutError:
                record_redis_error(redis.TimeoutError(f"no connection within {CONNECT_SECONDS_MAX:g} s"))
            except OSError as exc:
                record_redis_error(redis.ConnectionError(str(exc)))
            except redis.RedisError as exc:
                record_redis_error(exc)
            else:
                self._tried.set()
                await self._broken.wait()
                self._drop()
            self._tried.set()
            await asyncio.sleep(MEND_INTERVAL_SECONDS)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.error is not None:
            record_redis_error(connection.error)

    def _lose(self) -> None:
        # At once: the next request is not to find a connection that is gone.
        if self._connection is not None and self._connection.error is not None:
            self._drop()
        self._broken.set()

    async def _connect(self) -> _Connection:
        loop, target = asyncio.get_running_loop(), self._target
        connection = _Connection(self._budget_seconds, self._lose)
        if "path" in target:
            await loop.create_unix_connection(lambda: connection, target["path"])
        else:
            await loop.create_connection(
                lambda: connection,
                target.get("host", "localhost"),
                target.get("port", 6379),
                ssl=tls_context(target),
            )
        try:
            if "password" in target:
                who = [target["username"].encode()] if "username" in target else []
                await connection.ask(encode(b"AUTH", *who, target["password"].encode()))
            if "db" in target:
                await connection.ask(encode(b"SELECT", b"%d" % target["db"]))
            sha = await connection.ask(encode(b"SCRIPT", b"LOAD", self._script))
        except BaseException:
            connection.fail(redis.ConnectionError("the connection was not completed"))
            raise
        assert isinstance(sha, bytes)  # noqa: S101  what SCRIPT LOAD answers
        self._sha = sha
        return connection
