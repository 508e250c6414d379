"""HTTP that cannot leave the guard: every connection of the client goes where the guard says."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpcore
import httpx

from app.net.guard import ADDRESSES_TRIED_MAX, Guard, ResolveError

CONNECTIONS_MAX = 20
IDLE_CONNECTIONS_MAX = 10
IDLE_SECONDS_MAX = 30.0
_TIMEOUT_SECONDS = 10.0  # where a caller sets none

_give_up_at: ContextVar[float | None] = ContextVar("give_up_at", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let every wait of this thread's requests end by then, of look-ups, handshakes and headers too.

    Time-outs alone are for one read each, and a server that drips is never late with one.
    """
    token = _give_up_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _give_up_at.reset(token)


def _seconds(timeout: float | None, late: type[Exception]) -> float | None:
    """Return how long to wait at most. Raises ``late`` when the time is over."""
    give_up_at = _give_up_at.get()
    if give_up_at is None:
        return timeout
    left_seconds = give_up_at - time.monotonic()
    if left_seconds <= 0:
        raise late("the time for the whole exchange is over")
    return left_seconds if timeout is None else min(timeout, left_seconds)


class _TimedStream(httpcore.NetworkStream):
    """A stream whose waits end by then. The handshake's time-out is for all of it as it is."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _seconds(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = _seconds(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Opens the sockets of one scheme, by TCP only. TLS still verifies the name: httpcore knows no other."""

    def __init__(self, guard: Guard, scheme: str) -> None:
        self._guard = guard
        self._scheme = scheme
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Look the host up, check every address, and connect to one of them."""
        seconds = _seconds(timeout, httpcore.ConnectTimeout) or _TIMEOUT_SECONDS
        give_up_at = time.monotonic() + seconds
        try:
            addresses = self._guard.resolve(self._scheme, host, port, timeout_seconds=seconds)
        except ResolveError as exc:
            kind = httpcore.ConnectTimeout if exc.timed_out else httpcore.ConnectError
            raise kind(str(exc)) from exc
        failure: Exception = httpcore.ConnectTimeout("timed out")
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            left_seconds = give_up_at - time.monotonic()
            if left_seconds <= 0:
                break
            try:
                return _TimedStream(
                    self._sockets.connect_tcp(str(address), port, left_seconds, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
        raise failure


class GuardedTransport(httpx.HTTPTransport):
    """httpx's own transport over a pool whose sockets are the guard's."""

    def __init__(self, guard: Guard, scheme: str, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        # httpx has no parameter for this. That it holds is tested: without it nothing would be guarded.
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=IDLE_CONNECTIONS_MAX,
            keepalive_expiry=IDLE_SECONDS_MAX,
            network_backend=GuardedBackend(guard, scheme),
        )


def guarded_client(
    guard: Guard, *, timeout_seconds: float, context: ssl.SSLContext | None = None
) -> httpx.Client:
    """Return a client for http and https whose every connection the guard allows; it follows no redirect.

    A refused target raises ``TargetRefusedError`` from the request. ``context``: whom TLS trusts.
    """
    context = context or ssl.create_default_context()
    return httpx.Client(
        transport=GuardedTransport(guard, "https", context),
        mounts={"http://": GuardedTransport(guard, "http", context)},
        timeout=timeout_seconds,
        trust_env=False,
        follow_redirects=False,
    )


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that trusts the machine's authorities and those of ``ca_file``."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
