"""Names of places on a network, read strictly: what two programs might read in two ways is refused."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from app.net.addresses import IPAddress, IPNetwork, special

NAME_CHARACTERS_MAX = 253
URL_CHARACTERS_MAX = 2000
PORT_MAX = 65535
_PREFIX_MIN = {4: 8, 6: 32}

DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432}

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]{1,5}))?")
_ENTRY = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[^\[\]]*\]|[^\[\]:]*):(?P<port>[0-9]{1,5})")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label like this makes browsers and C libraries read the whole name as an IPv4 address.
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
# Printable ASCII without what parsers disagree on.
_PLAIN = re.compile(r"[!-~]*")
_AMBIGUOUS = re.compile(r"[\\\"<>^`{|}]")


class TargetRefusedError(Exception):
    """The target is not one that may be connected to."""


@dataclass(frozen=True)
class Target:
    """Where to connect. ``host`` is a name in lower case or an address without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True)
class AllowEntry:
    """One place that may be connected to: a name, or a network (which may be a single address)."""

    scheme: str
    host: str | IPNetwork
    port: int


def parse_host(text: str) -> str | IPAddress:
    """Return a name in lower case, or an address. Raises ``TargetRefusedError``."""
    if not text:
        raise TargetRefusedError("has no host")
    if not text.isascii():
        raise TargetRefusedError("has a host that is not ASCII; write it in its xn-- form")
    if text.startswith("["):
        return _ipv6(text.removeprefix("[").removesuffix("]"))
    if ":" in text:
        return _ipv6(text)
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return ipaddress.IPv4Address(text)  # four plain decimals; nothing octal, hexadecimal or short
        except ValueError:
            raise TargetRefusedError("has an IPv4 address that is not four plain decimal numbers") from None
    if len(name) > NAME_CHARACTERS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetRefusedError("has a host that is no name of the DNS")
    return name


def _ipv6(text: str) -> IPAddress:
    if "%" in text:
        raise TargetRefusedError("has an address with a zone")
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        raise TargetRefusedError("has a host that is no address") from None


def _port(text: str | None, scheme: str) -> int:
    port = int(text) if text else DEFAULT_PORTS.get(scheme, 0)
    if not 1 <= port <= PORT_MAX:
        raise TargetRefusedError("has no port from 1 to 65535")
    return port


def parse_url(url: str) -> Target:
    """Return where a URL leads. Raises ``TargetRefusedError``."""
    if len(url) > URL_CHARACTERS_MAX:
        raise TargetRefusedError(f"is longer than {URL_CHARACTERS_MAX} characters")
    if not _PLAIN.fullmatch(url) or _AMBIGUOUS.search(url):
        raise TargetRefusedError("has characters that a URL must carry percent-encoded")
    if "#" in url:
        raise TargetRefusedError("has a fragment, which no server would see")
    match = _URL.fullmatch(url)
    if match is None:
        raise TargetRefusedError("is not scheme://host:port/path")
    if "@" in match["authority"]:
        raise TargetRefusedError("has a user name or a password before its host")
    authority = _AUTHORITY.fullmatch(match["authority"])
    if authority is None or "%" in match["authority"]:
        raise TargetRefusedError("has no plain host and port")
    scheme = match["scheme"].lower()
    return Target(scheme, str(parse_host(authority["host"])), _port(authority["port"], scheme))


def parse_entry(text: str) -> AllowEntry:
    """Return an entry from ``scheme://host:port``, where host is a name, an address or a network.

    Raises ``ValueError``, which says what to write instead.
    """
    head, slash, rest = text.rpartition("/")
    network_text = None
    if slash and not head.endswith("/") and not head.endswith(":"):
        # scheme://10.1.0.0/16:8080, or scheme://[fd00:1::]/48:8080
        prefix, _, port_text = rest.partition(":")
        scheme, _, host = head.partition("://")
        network_text = f"{host.strip('[]')}/{prefix}"
        text = f"{scheme}://{host}:{port_text}"
    match = _ENTRY.fullmatch(text)
    if match is None:
        msg = f"{text!r} is not scheme://host:port or scheme://network/bits:port; the port cannot be left out"
        raise ValueError(msg)
    try:
        port = _port(match["port"], match["scheme"])
        if network_text is not None:
            return AllowEntry(match["scheme"], _network(network_text), port)
        named = parse_host(match["host"])
    except TargetRefusedError as exc:
        msg = f"{text!r} {exc}"
        raise ValueError(msg) from exc
    return AllowEntry(match["scheme"], named if isinstance(named, str) else ipaddress.ip_network(named), port)


def _network(text: str) -> IPNetwork:
    network = ipaddress.ip_network(text)
    if network.prefixlen < _PREFIX_MIN[network.version]:
        msg = f"{text!r} is too wide: /{_PREFIX_MIN[network.version]} is the widest network of an entry"
        raise ValueError(msg)
    kind = special(network.network_address)
    if kind is not None and network.num_addresses > 1:
        msg = f"{text!r} is {kind}: such addresses are allowed one by one"
        raise ValueError(msg)
    return network
