"""A small real HTTP upstream for the ``api`` source."""

from __future__ import annotations

import enum
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

TOTAL = 25
HOLD_SECONDS_MAX = 60.0
DRIP_SECONDS = 0.05


class Mood(enum.Enum):
    GOOD = "good"
    ERROR = "answers 500"
    MISSING = "answers 404"
    GARBAGE = "answers what it never promised"
    GIVEN = "answers one item, as given"
    DRIP = "answers a byte at a time, without end"
    DRIP_HEADERS = "never gets as far as a body"
    HOLD = "answers when released"


class Upstream:
    """Pages through 25 items. ``asked`` is set when a request arrives."""

    def __init__(self) -> None:
        self.mood = Mood.GOOD
        self.asked = threading.Event()
        self.released = threading.Event()
        self.requests_seen = 0
        self.headers_seen: list[dict[str, str]] = []
        self.answered = 0
        self.item = "{}"
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                upstream.requests_seen += 1
                upstream.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
                upstream.asked.set()
                if upstream.mood is Mood.HOLD:
                    upstream.released.wait(HOLD_SECONDS_MAX)
                status, body = upstream.answer(self.path)
                try:
                    if upstream.mood in (Mood.DRIP, Mood.DRIP_HEADERS):
                        self._drip(upstream.mood)
                        return
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    self.wfile.flush()
                    upstream.answered += 1
                except OSError:
                    self.close_connection = True  # whoever asked was killed

            def _drip(self, mood: Mood) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                if mood is Mood.DRIP:
                    self.end_headers()
                else:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while upstream.mood is mood and not upstream.released.wait(DRIP_SECONDS):
                    self.wfile.write(b" ")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, path: str) -> tuple[int, bytes]:
        if self.mood is Mood.ERROR:
            return 500, b"{}"
        if self.mood is Mood.MISSING:
            return 404, b"{}"
        if self.mood is Mood.GARBAGE:
            return 200, b'{"items": "none", "page": 1}'
        if self.mood is Mood.GIVEN:
            return 200, f'{{"items": [{self.item}], "page": 1, "pages": 1, "total": 1}}'.encode()
        query = parse_qs(urlsplit(path).query)
        page, size = int(query["page"][0]), int(query["page_size"][0])
        items = [{"id": number} for number in range((page - 1) * size, min(page * size, TOTAL))]
        pages = -(-TOTAL // size)
        return 200, json.dumps({"items": items, "page": page, "pages": pages, "total": TOTAL}).encode()

    def hold(self) -> None:
        """Keep the next requests waiting until ``release``."""
        self.asked.clear()
        self.released.clear()
        self.mood = Mood.HOLD

    def release(self) -> None:
        self.mood = Mood.GOOD
        self.released.set()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
