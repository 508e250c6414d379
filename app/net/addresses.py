"""What kind of address an address is."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# The first that fits is the one that is told. The order goes from narrow to wide.
_SPECIAL: Mapping[str, tuple[str, ...]] = {
    "a metadata service": (
        "169.254.169.254/32",
        "169.254.170.2/32",
        "100.100.100.200/32",
        "168.63.129.16/32",  # public by its number, and only ever Azure's own
        "192.0.0.192/32",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
    ),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    # An IPv4 address inside an IPv6 one would be judged by the wrong rules.
    "an embedded IPv4 address": (
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
    ),
    "reserved": (
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    ),
}
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")


def _networks(texts: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_SPECIAL_NETWORKS = tuple((kind, _networks(texts)) for kind, texts in _SPECIAL.items())
_PRIVATE_NETWORKS = _networks(_PRIVATE)


def special(address: IPAddress) -> str | None:
    """Return what makes an address one that only an entry for it alone allows, or None."""
    for kind, networks in _SPECIAL_NETWORKS:
        if any(address in network for network in networks):
            return kind
    if isinstance(address, ipaddress.IPv6Address) and not (private(address) or address in _GLOBAL_IPV6):
        return "reserved"
    return None


def private(address: IPAddress) -> bool:
    """Tell whether an address belongs to somebody's own network."""
    return any(address in network for network in _PRIVATE_NETWORKS)
