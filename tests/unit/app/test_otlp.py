"""What is exported, value by value, and what becomes of it when nobody takes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from app.telemetry import otlp
from app.telemetry.lines import encoded
from app.telemetry.metrics import runtime
from app.telemetry.otlp import OtlpExporter, attributes
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ("text", "string_value", "text"),
        ("naïve", "string_value", "naïve"),
        ("half \ud83d", "string_value", "half ?"),
        (True, "bool_value", True),
        (0, "int_value", 0),
        (-(2**63) + 1, "int_value", -(2**63) + 1),
        (2**63, "string_value", str(2**63)),
        (2**70, "string_value", str(2**70)),
        (0.25, "double_value", 0.25),
        (float("nan"), "string_value", "null"),
        ({"a": [1, None]}, "string_value", '{"a":[1,null]}'),
        (("x", 2), "string_value", '["x",2]'),
        (ValueError("why"), "string_value", '"why"'),
    ],
)
def test_every_value_is_told_as_what_it_is(value: object, kind: str, told: object) -> None:
    [told_as] = attributes({"key": value, "absent": None})
    message = json_format.ParseDict(json.loads(encoded(told_as)), KeyValue())
    assert message.key == "key"
    assert message.value.WhichOneof("value") == kind
    assert getattr(message.value, kind) == told


class Collector:
    """Answers with the statuses it was told, the last of them for ever, and holds an answer until let go."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.taken: list[Any] = []
        self.go_on = threading.Event()
        self.go_on.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                collector.go_on.wait(10)
                status = collector.statuses.pop(0) if len(collector.statuses) > 1 else collector.statuses[0]
                if status == 200:
                    collector.taken += body
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}/v1/logs"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def as_they_are(items: Sequence[int]) -> list[int]:
    return list(items)


@pytest.fixture
def collectors() -> Iterator[list[Collector]]:
    started: list[Collector] = []
    yield started
    for each in started:
        each.go_on.set()
        each.close()


def exporting(collectors: list[Collector], *statuses: int) -> tuple[Collector, OtlpExporter[int]]:
    collector = Collector(*statuses)
    collectors.append(collector)
    return collector, OtlpExporter("logs", collector.endpoint, as_they_are)


def lost() -> float:
    return float(runtime.OTLP_RECORDS_LOST.labels("logs")._value.get())


def test_all_arrive_in_order_and_what_is_queued_at_the_end_too(collectors: list[Collector]) -> None:
    collector, exporter = exporting(collectors, 200)
    for item in range(1000):
        exporter.put(item)
    eventually(lambda: collector.taken == list(range(1000)), within_seconds=5, what="all arrive")
    exporter.put(1000)
    exporter.shutdown()
    assert collector.taken[-1] == 1000


def test_a_collector_that_is_busy_is_asked_again(collectors: list[Collector]) -> None:
    before = lost()
    collector, exporter = exporting(collectors, 503, 429, 200)
    exporter.put(1)
    eventually(lambda: collector.taken == [1], within_seconds=5, what="it arrives")
    exporter.shutdown()
    assert lost() == before


@pytest.mark.parametrize("status", [400, 503])
def test_what_is_refused_is_counted_and_ends_nothing(collectors: list[Collector], status: int) -> None:
    before = lost()
    collector, exporter = exporting(collectors, status)
    exporter.put(1)
    eventually(lambda: lost() == before + 1, within_seconds=10, what="it is given up")
    collector.statuses = [200]
    exporter.put(2)
    eventually(lambda: collector.taken == [2], within_seconds=5, what="the next one arrives")
    exporter.shutdown()


def test_a_full_queue_loses_the_oldest_and_holds_nobody_up(collectors: list[Collector]) -> None:
    before = lost()
    collector, exporter = exporting(collectors, 200)
    collector.go_on.clear()
    for item in range(otlp.BATCH_RECORDS_MAX):
        exporter.put(item)
    eventually(lambda: not exporter._queue, within_seconds=5, what="the first batch is under way")
    last = otlp.BATCH_RECORDS_MAX + otlp.QUEUE_RECORDS_MAX + 10
    for item in range(otlp.BATCH_RECORDS_MAX, last):
        exporter.put(item)
    assert lost() == before + 10
    collector.go_on.set()
    eventually(
        lambda: collector.taken and collector.taken[-1] == last - 1,
        within_seconds=5,
        what="the newest arrive",
    )
    exporter.shutdown()
    assert len(collector.taken) == otlp.BATCH_RECORDS_MAX + otlp.QUEUE_RECORDS_MAX


def test_a_request_that_cannot_be_made_is_lost_alone(collectors: list[Collector]) -> None:
    before = lost()
    collector = Collector(200)
    collectors.append(collector)

    def request(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ZeroDivisionError
        return list(items)

    exporter = OtlpExporter("logs", collector.endpoint, request)
    exporter.put(13)
    eventually(lambda: lost() == before + 1, within_seconds=5, what="it is given up")
    exporter.put(14)
    exporter.shutdown()
    assert collector.taken == [14]
