"""A TCP server that answers every connection with the same bytes: answers no sane program gives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

REQUEST_BYTES_MAX = 65_536


class Canned:
    """``answer`` is sent at once, or byte by byte with a pause between them."""

    def __init__(self, answer: bytes, *, drip_seconds: float = 0.0) -> None:
        self.answer = answer
        self.drip_seconds = drip_seconds
        self.request = b""
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.request = connection.recv(REQUEST_BYTES_MAX)
            if not self.drip_seconds:
                connection.sendall(self.answer)
                return
            for byte in self.answer:
                connection.sendall(bytes([byte]))
                if self._ending.wait(self.drip_seconds):
                    return

    def close(self) -> None:
        self._ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def canned(answer: bytes, *, drip_seconds: float = 0.0) -> Iterator[Canned]:
    server = Canned(answer, drip_seconds=drip_seconds)
    try:
        yield server
    finally:
        server.close()


def http_answer(body: bytes, *, status: str = "200 OK", **headers: str) -> bytes:
    """Return a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
