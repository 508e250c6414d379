"""One conversation over a service's path, byte by byte: what a toxic does to it can be measured."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chaos.domain.topology import Topology
from chaos.engine.nemesis.ports import Exchange
from chaos.errors import AdapterError

EXCHANGE_SECONDS_MAX = 4.0
CLOSE_SECONDS_MAX = 4.0
CONNECT_SECONDS_MAX = 2.0
LARGE_BYTES = 8_000
_CHUNK_BYTES = 65_536
_UPSTREAM = "upstream"


@dataclass(frozen=True)
class _Talk:
    """What to say, and how much answer is a whole one. The server hangs up after it."""

    request: bytes
    whole: Callable[[bytes], bool]


def _postgres(_large: str) -> _Talk:
    # A start-up packet of a protocol nobody speaks: read whole, answered with one error, then hung up on.
    body = struct.pack("!I", 0x7FFF0000) + b"\0" * LARGE_BYTES
    return _Talk(
        struct.pack("!I", len(body) + 4) + body,
        lambda got: len(got) >= 5 and len(got) >= 1 + struct.unpack("!I", got[1:5])[0],  # noqa: PLR2004
    )


def _redis(_large: str) -> _Talk:
    payload = b"x" * LARGE_BYTES
    head = f"${len(payload)}\r\n".encode()
    request = b"*2\r\n$4\r\nPING\r\n" + head + payload + b"\r\n*1\r\n$4\r\nQUIT\r\n"
    return _Talk(request, lambda got: got.endswith(b"+OK\r\n"))


def _http(path: str) -> Callable[[str], _Talk]:
    def talk(large: str) -> _Talk:
        padding = f"X-Padding: {'x' * LARGE_BYTES}\r\n" if large == _UPSTREAM else ""
        request = f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{padding}\r\n"
        return _Talk(request.encode(), _http_is_whole)

    return talk


def _http_is_whole(got: bytes) -> bool:
    head, separator, body = got.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return got.endswith(b"0\r\n\r\n")


_TALKS: Mapping[str, Callable[[str], _Talk]] = {
    "postgres": _postgres,
    "client-postgres": _postgres,
    "redis": _redis,
    "evidence-api": _http("/v1/findings?page_size=180"),
    "api-1": _http("/openapi.json"),
    "api-2": _http("/openapi.json"),
    "s3": _http("/"),
    "moderation-api": _http("/metrics"),
}


class ServicePaths:
    """Talks over the listeners of the service's proxies."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def exchange(self, path: str, *, large: str) -> Exchange:
        """Have one conversation over the path."""
        if path not in _TALKS:
            raise AdapterError(
                f"nobody knows how to talk over the path {path!r}; add it to adapters/paths.py"
            )
        address = self._topology.via(path)
        return _exchange((address.host, address.port), _TALKS[path](large), large)


def _exchange(address: tuple[str, int], talk: _Talk, large: str) -> Exchange:
    began = time.monotonic()
    try:
        link = socket.create_connection(address, CONNECT_SECONDS_MAX)
    except ConnectionRefusedError:
        return Exchange("refused", False, time.monotonic() - began, None, 0, 0)  # noqa: FBT003
    except OSError as error:
        return Exchange(_name(error), False, time.monotonic() - began, None, 0, 0)  # noqa: FBT003
    with link:
        got, first, failed = _converse(link, talk, began + EXCHANGE_SECONDS_MAX, began)
        seconds = time.monotonic() - began
        complete = talk.whole(bytes(got))
        closing = _close_seconds(link) if complete and not failed else 0.0
    # A fault of one direction is not seen by how much goes in the other.
    volume = len(talk.request) if large == _UPSTREAM else len(got)
    return Exchange(failed, complete, seconds, first, len(got), volume, closing)


def _converse(
    link: socket.socket, talk: _Talk, give_up_at: float, began: float
) -> tuple[bytearray, float | None, str]:
    got = bytearray()
    first: float | None = None
    try:
        link.settimeout(EXCHANGE_SECONDS_MAX)
        link.sendall(talk.request)
        while not talk.whole(bytes(got)):
            link.settimeout(max(0.01, give_up_at - time.monotonic()))
            chunk = link.recv(_CHUNK_BYTES)
            if not chunk:
                return got, first, "closed"
            first = first if first is not None else time.monotonic() - began
            got += chunk
    except OSError as error:
        return got, first, _name(error)
    return got, first, ""


def _close_seconds(link: socket.socket) -> float:
    began = time.monotonic()
    link.settimeout(CLOSE_SECONDS_MAX)
    try:
        while link.recv(_CHUNK_BYTES):
            pass
    except OSError:
        pass
    return time.monotonic() - began


def _name(error: OSError) -> str:
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "reset"
    return "timeout" if isinstance(error, TimeoutError) else "closed"
