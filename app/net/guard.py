"""The SSRF guard: what clients name is connected to only where an entry of the operator allows it.

An entry is (scheme, name or network, port). A name allows the public addresses it resolves to; private
ones need an entry for their network too, or whoever owns the name's DNS would choose our internal targets.
Loopback, link-local, metadata and other special addresses need an entry for the single address.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from collections.abc import Iterable

from app.net.addresses import IPAddress, private, special
from app.net.resolver import ResolveError, Resolver, SystemResolver
from app.net.targets import AllowEntry, Target, TargetRefusedError, parse_entry, parse_host, parse_url

ADDRESSES_TRIED_MAX = 3
REMEMBERED_MAX = 1000

__all__ = ["Guard", "ResolveError", "Target", "TargetRefusedError"]


class Guard:
    """Decides by the entries of one environment. What no entry allows is refused."""

    def __init__(self, entries: Iterable[str | AllowEntry], *, resolver: Resolver | None = None) -> None:
        self._entries = tuple(parse_entry(one) if isinstance(one, str) else one for one in entries)
        self._resolver = resolver or SystemResolver()
        # The entries never change, so neither does an answer that takes no look-up.
        self._allowed: dict[str, Target] = {}

    def check_url(self, url: str) -> Target:
        """Return where a URL leads, if an entry allows it as far as can be told without a look-up.

        Raises ``TargetRefusedError``.
        """
        target = self._allowed.get(url)
        if target is None:
            target = parse_url(url)
            self.check(target.scheme, target.host, target.port)
            if len(self._allowed) >= REMEMBERED_MAX:
                self._allowed.clear()
            self._allowed[url] = target
        return target

    def check(self, scheme: str, host: str, port: int) -> None:
        """Refuse what no entry allows, without a look-up. Raises ``TargetRefusedError``."""
        parsed = parse_host(host)
        if isinstance(parsed, str):
            self._check_name(scheme, parsed, port)
        else:
            self._check_address(scheme, parsed, port, named=False)

    def resolve(self, scheme: str, host: str, port: int, *, timeout_seconds: float) -> list[IPAddress]:
        """Return the addresses to connect to. Connect to these and never to the name: it may answer anew.

        Raises:
            TargetRefusedError: No entry allows it, or it has an address that none allows.
            ResolveError: The name could not be looked up in time.

        """
        parsed = parse_host(host)
        if not isinstance(parsed, str):
            self._check_address(scheme, parsed, port, named=False)
            return [parsed]
        self._check_name(scheme, parsed, port)
        addresses = list(self._resolver(parsed, timeout_seconds))
        if not addresses:
            raise ResolveError(f"{parsed} has no address")
        for address in addresses:
            self._check_address(scheme, address, port, named=True)
        return addresses

    def connect(self, scheme: str, host: str, port: int, *, timeout_seconds: float) -> socket.socket:
        """Return a connected socket, whose own time-out is ``timeout_seconds``.

        TLS on it verifies ``host``, not the address. Raises as ``resolve``, or ``OSError``.
        """
        give_up_at = time.monotonic() + timeout_seconds
        addresses = self.resolve(scheme, host, port, timeout_seconds=timeout_seconds)
        failure: OSError = TimeoutError("timed out")
        for address in addresses[:ADDRESSES_TRIED_MAX]:
            left_seconds = give_up_at - time.monotonic()
            if left_seconds <= 0:
                break
            try:
                connection = socket.create_connection((str(address), port), timeout=left_seconds)
            except OSError as exc:
                failure = exc
                continue
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(timeout_seconds)
            return connection
        raise failure

    def _check_name(self, scheme: str, name: str, port: int) -> None:
        if not any(entry == AllowEntry(scheme, name, port) for entry in self._entries):
            raise _not_allowed(Target(scheme, name, port))

    def _check_address(self, scheme: str, address: IPAddress, port: int, *, named: bool) -> None:
        # ``named``: a name that is allowed led here.
        kind = special(address)
        for entry in self._entries:
            if entry.scheme != scheme or entry.port != port or isinstance(entry.host, str):
                continue
            if kind is None and address in entry.host:
                return
            if kind is not None and entry.host == ipaddress.ip_network(address):
                return
        if kind is not None:
            raise TargetRefusedError(f"leads to an address that is {kind}")
        if named and not private(address):
            return
        if named:
            raise TargetRefusedError("leads to a private address that no entry allows")
        raise _not_allowed(Target(scheme, str(address), port))


def _not_allowed(target: Target) -> TargetRefusedError:
    return TargetRefusedError(f"{target} is not allowed here; the operator's DCS_SOURCES_ALLOW says what is")
