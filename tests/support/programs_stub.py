"""A stand-in for the service, as traffic sees it: real HTTP, and told how to behave."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Mode = Literal["ok", "unavailable", "hang", "forgetful"]
HANG_MAX_SECONDS = 20.0
_JOB = re.compile(r"/api/v1/jobs/(status|result)/(.+)")


@dataclass(frozen=True)
class Seen:
    """One request the stub got."""

    moment: float
    method: str
    path: str
    client: str
    body: bytes


@dataclass
class Stub:
    """What the stub got, and how it answers."""

    mode: Mode = "ok"
    requests: list[Seen] = field(default_factory=list)
    in_flight: int = 0
    in_flight_max: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    release: threading.Event = field(default_factory=threading.Event)
    owners: dict[str, str] = field(default_factory=dict)
    taken: tuple[str, ...] = ()
    """Further paths to which it says 202."""

    def reply(self, seen: Seen) -> tuple[int, object]:  # noqa: PLR0911  one for each kind of request
        if self.mode == "unavailable":
            return 503, {"title": "database away"}
        if self.mode == "hang":
            self.release.wait(HANG_MAX_SECONDS)
            return 503, {}
        if seen.method == "POST" and seen.path == "/api/v1/jobs/trigger":
            with self.lock:
                job_id = f"job-{len(self.owners) + 1}"
                self.owners[job_id] = seen.client
                return 202, {"job_id": job_id, "status": "queued"}
        if seen.method == "POST" and seen.path == "/api/v1/avatars":
            return 202, {"job_id": "avatar-1", "status": "queued"}
        if seen.path in self.taken:
            return 202, {}
        found = _JOB.fullmatch(seen.path)
        if found is None or self.mode == "forgetful":
            return 404, {"title": "unknown job"}
        return 200, {"job_id": found[2], "status": "succeeded", "records": []}


@contextmanager
def stub_service() -> Iterator[Stub]:
    """Serve a stub on a free port until the block ends."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:
                return  # the client hung up
            client = self.headers.get("X-API-Key", "").removeprefix("key of ")
            seen = Seen(time.monotonic(), self.command, self.path, client, body)
            with stub.lock:
                stub.requests.append(seen)
                stub.in_flight += 1
                stub.in_flight_max = max(stub.in_flight_max, stub.in_flight)
            try:
                status, answer = stub.reply(seen)
            finally:
                with stub.lock:
                    stub.in_flight -= 1
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - the names http.server looks for

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Clients that hang up are part of these tests."""

    server = Server(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stub
    finally:
        stub.release.set()
        server.shutdown()
        thread.join(5)
        server.server_close()
