"""HTTP that cannot leave the guard: every connection of the client goes where the guard says."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from pathlib import Path

import httpcore
import httpx

from app.net.guard import ADDRESSES_TRIED_MAX, Guard, ResolveError

CONNECTIONS_MAX = 20
IDLE_CONNECTIONS_MAX = 10
IDLE_SECONDS_MAX = 30.0
_TIMEOUT_SECONDS = 10.0  # where a caller sets none


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
        seconds = _TIMEOUT_SECONDS if timeout is None else timeout
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
                return self._sockets.connect_tcp(
                    str(address), port, left_seconds, local_address, socket_options
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
