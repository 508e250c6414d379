"""A real HTTP server, with TLS or without, that answers as a test says."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.support.certificates import Pair

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Asked:
    """A request that arrived."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What is sent, whole or piece by piece. ``length``: to say another one than that of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON))
    pieces: Sequence[bytes] | Iterator[bytes] = ()
    length: int | None = None


def page(items: Sequence[object], number: int = 1, pages: int = 1, **headers: str) -> Answer:
    body = orjson.dumps({"items": items, "page": number, "pages": pages, "total": len(items)})
    return Answer(body=body, headers={**JSON, **{k.replace("_", "-"): v for k, v in headers.items()}})


class Scripted:
    """Calls ``answer`` for every request and remembers them all."""

    def __init__(self, answer: Callable[[Asked], Answer], certificate: Pair | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        scripted = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def verify_request(self, request: object, client_address: object) -> bool:
                scripted.connections += 1
                return True

            def handle_error(self, request: object, client_address: object) -> None:
                """Whoever asked hung up; that is what many tests are about."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(url.query).items()}
                asked = Asked(url.path, query, {k.lower(): v for k, v in self.headers.items()})
                scripted.asked.append(asked)
                self._send(scripted.answer(asked))

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Connection", "close")
                if not answer.pieces:
                    length = len(answer.body) if answer.length is None else answer.length
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                for piece in answer.pieces or (answer.body,):
                    self.wfile.write(piece)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@contextmanager
def scripted(
    answer: Callable[[Asked], Answer] = lambda _: Answer(), certificate: Pair | None = None
) -> Iterator[Scripted]:
    server = Scripted(answer, certificate)
    try:
        yield server
    finally:
        server.close()
