"""Where a request comes from, as far as that can be believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN = ipaddress.IPv4Address(0)
IPV6_CUSTOMER_BITS = 64
FORWARDED_MAX = 20


class TrustedProxies:
    """Networks whose ``X-Forwarded-*`` headers are believed. Everybody else's are not looked at."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def client(self, scope: Scope) -> Address:
        """Return the address of whoever asks: the nearest that is no trusted proxy."""
        nearest = _peer(scope)
        if not self._networks or not within(nearest, self._networks):
            return nearest
        for text in reversed(_forwarded(scope)):
            try:
                nearest = _plain(ipaddress.ip_address(text.strip()))
            except ValueError:
                return nearest  # what a trusted proxy could not tell
            if not within(nearest, self._networks):
                break
        return nearest

    def is_https(self, scope: Scope) -> bool:
        """Return whether the request came by TLS, as far as the last trusted proxy knows."""
        if scope.get("scheme") == "https":
            return True
        if not self._networks or not within(_peer(scope), self._networks):
            return False
        given = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
        return given == [b"https"]


def bucket(address: Address) -> str:
    """Return what is counted together: an IPv6 customer has 2**64 addresses."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_CUSTOMER_BITS), strict=False).network_address)
    return str(address)


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Return whether an address belongs to one of the networks."""
    return any(address in network for network in networks)


def _peer(scope: Scope) -> Address:
    client = scope.get("client")
    try:
        return _plain(ipaddress.ip_address(client[0])) if client else UNKNOWN
    except ValueError:  # a unix socket
        return UNKNOWN


def _plain(address: Address) -> Address:
    # ::ffff:10.0.0.1 is 10.0.0.1 by another name.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _forwarded(scope: Scope) -> list[str]:
    given = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    return given.decode("latin-1").split(",")[-FORWARDED_MAX:] if given else []
