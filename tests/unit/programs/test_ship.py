from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry._logs import LogRecord
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from chaos.forwarder.ship import Shipper
from tests.support.programs import eventually


def records(program: str, *bodies: str) -> list[ReadableLogRecord]:
    resource = Resource({"service.name": program})
    return [ReadableLogRecord(LogRecord(timestamp=1, observed_timestamp=1, body=b), resource) for b in bodies]


class Fate:
    """Counts what the shipper tells of its records."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.bodies: list[str] = []

    def __call__(self, batch: Sequence[ReadableLogRecord], outcome: str) -> None:
        self.of[outcome] += len(batch)
        self.bodies += [str(record.log_record.body) for record in batch if outcome == "dropped_queue"]


@contextmanager
def receiver(statuses: list[int]) -> Iterator[tuple[str, list[ExportLogsServiceRequest]]]:
    """Run an OTLP receiver that answers with ``statuses`` in turn, then with 200."""
    got: list[ExportLogsServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(ExportLogsServiceRequest.FromString(body))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/otlp/v1/logs", got
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def test_programs_share_a_request_and_keep_their_names() -> None:
    fate = Fate()
    with receiver([]) as (url, got):
        shipper = Shipper(url, fate)
        shipper.put(records("redis", "a", "b"))
        shipper.put(records("nginx", "c"))
        shipper.start()
        eventually(lambda: fate.of["shipped"] == 3, 5, "all shipped")
        shipper.stop()
    (request,) = got
    names = [item.resource.attributes[0].value.string_value for item in request.resource_logs]
    assert names == ["redis", "nginx"]


def test_what_is_rejected_is_dropped_at_once_and_the_next_batch_goes_on() -> None:
    fate = Fate()
    with receiver([400]) as (url, got):
        shipper = Shipper(url, fate)
        shipper.start()
        shipper.put(records("redis", "poison"))
        eventually(lambda: fate.of["dropped_export"] == 1, 2, "the rejected batch is dropped")
        shipper.put(records("redis", "fine"))
        eventually(lambda: fate.of["shipped"] == 1, 2, "the next one is shipped")
        shipper.stop()
    assert len(got) == 2


def test_a_busy_or_broken_receiver_is_tried_again() -> None:
    fate = Fate()
    with receiver([500, 429, 503]) as (url, got):
        shipper = Shipper(url, fate)
        shipper.start()
        shipper.put(records("redis", "patience"))
        eventually(lambda: fate.of["shipped"] == 1, 15, "it is shipped in the end")
        shipper.stop()
    assert len(got) == 4
    assert fate.of == {"shipped": 1}
    assert shipper.failing_since_unix is None


def test_the_queue_is_bounded_and_the_oldest_go() -> None:
    fate = Fate()
    shipper = Shipper("http://127.0.0.1:9/otlp/v1/logs", fate, queue_max_records=10)
    shipper.put(records("redis", *(str(number) for number in range(25))))
    assert len(shipper) == 10
    assert fate.of == {"dropped_queue": 15}
    assert fate.bodies == [str(number) for number in range(15)]
