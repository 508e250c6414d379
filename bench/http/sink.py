"""Takes OTLP over HTTP and throws it away: a collector that costs as little as one can."""

from __future__ import annotations

import argparse
import selectors
import socket
import sys

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


def missing_bytes(received: bytearray) -> int:
    """Return how many bytes of the first request are not there yet; more than 0 as long as any is."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 1
    head = bytes(received[:end]).lower()
    at = head.find(b"content-length:")
    if at < 0:
        return end + 4 - len(received)
    line_end = head.find(b"\r\n", at)
    return end + 4 + int(head[at + 15 : line_end if line_end > 0 else end]) - len(received)


def main() -> int:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", options.port))
    selector.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                connection, _address = listener.accept()
                selector.register(connection, selectors.EVENT_READ, bytearray())
                continue
            sock, received = key.fileobj, key.data
            assert isinstance(sock, socket.socket)  # noqa: S101
            try:
                chunk = sock.recv(1 << 20)
            except OSError:
                chunk = b""
            if not chunk:
                selector.unregister(sock)
                sock.close()
                continue
            received += chunk
            missing = missing_bytes(received)
            if missing <= 0:
                del received[: len(received) + missing]
                sock.sendall(_ANSWER)


if __name__ == "__main__":
    sys.exit(main())
