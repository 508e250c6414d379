"""A load generator that leaves the CPU to the server: one thread, epoll, requests made in advance.

Keep-alive connections, each with one request under way (a closed loop). Standard library only.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CONNECT_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 30.0


@dataclass
class Connection:
    """One caller."""

    sock: socket.socket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)


@dataclass
class Tally:
    """What the callers saw after the warm-up."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Answer:
    """The first answer of what was received. ``last``: the server closes the connection after it."""

    status: int
    length: int
    last: bool


def complete(received: bytearray) -> Answer | None:
    """Return the first answer in ``received``, or None while it is not all there."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    at = head.find(b"content-length:")
    if at < 0:
        raise ValueError("an answer without a length: " + head.decode("latin-1"))
    line_end = head.find(b"\r\n", at)
    length = end + 4 + int(head[at + 15 : line_end if line_end > 0 else end])
    if len(received) < length:
        return None
    return Answer(int(head[9:12]), length, b"\r\nconnection: close\r\n" in head + b"\r\n")


class Load:
    """Drives ``connections`` callers for a while."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], connections: int) -> None:
        self._address = address
        self._requests = requests
        self._next = 0
        self._selector = selectors.DefaultSelector()
        self._connections = connections
        self._tally = Tally()
        self._counting = False
        self._answers_in_all = 0

    def run(self, *, warm_up_seconds: float, seconds: float) -> dict[str, object]:
        """Return the tally of ``seconds`` after the warm-up."""
        for _ in range(self._connections):
            self._open()
        self._until(time.perf_counter() + warm_up_seconds)
        self._counting = True
        cpu_before, started = time.process_time(), time.perf_counter()
        self._until(started + seconds)
        passed = time.perf_counter() - started
        return {
            "seconds": passed,
            "cpu_cores": (time.process_time() - cpu_before) / passed,
            "statuses": dict(self._tally.statuses),
            "milliseconds": self._tally.milliseconds,
            "answers_in_all": self._answers_in_all,
        }

    def _open(self) -> None:
        sock = socket.create_connection(self._address, timeout=CONNECT_SECONDS_MAX)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        connection.sent_at = time.perf_counter()
        connection.sock.sendall(request)

    def _until(self, deadline: float) -> None:
        last_answer = time.perf_counter()
        while (now := time.perf_counter()) < deadline:
            ready = self._selector.select(min(1.0, deadline - now))
            if not ready and now - last_answer > ANSWER_SECONDS_MAX:
                raise TimeoutError(f"no answer within {ANSWER_SECONDS_MAX:g} s")
            for key, _ in ready:
                last_answer = now
                self._read(key.data)

    def _read(self, connection: Connection) -> None:
        try:
            chunk = connection.sock.recv(65536)
        except OSError:
            chunk = b""
        if not chunk:
            self._replace(connection)
            return
        connection.received += chunk
        answer = complete(connection.received)
        if answer is None:
            return
        self._answers_in_all += 1
        if self._counting:
            self._tally.statuses[str(answer.status)] += 1
            self._tally.milliseconds.append((time.perf_counter() - connection.sent_at) * 1000)
        if answer.last:  # nginx does so after a thousand requests
            self._selector.unregister(connection.sock)
            connection.sock.close()
            self._open()
            return
        del connection.received[: answer.length]
        self._send(connection)

    def _replace(self, connection: Connection) -> None:
        # A server may close a kept connection; a request that was under way then is an error.
        self._selector.unregister(connection.sock)
        connection.sock.close()
        if self._counting:
            self._tally.statuses["closed"] += 1
        self._open()


def main(arguments: Sequence[str] | None = None) -> int:
    """Drive load and write what was seen as JSON."""
    parser = argparse.ArgumentParser(description="Drive HTTP load.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--warm-up-seconds", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--requests", type=Path, required=True, help="JSON: a list of requests, as text")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    requests = [text.encode() for text in json.loads(options.requests.read_text())]
    load = Load(("127.0.0.1", options.port), requests, options.connections)
    seen = load.run(warm_up_seconds=options.warm_up_seconds, seconds=options.seconds)
    options.out.write_text(json.dumps(seen), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
