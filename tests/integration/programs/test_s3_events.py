"""The relay of S3 events: what it takes, what it brings to the service, and when it gives up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.programs import HTTP, Program, eventually, running
from tests.support.programs_stub import Stub, stub_service
from tests.support.webhooks import created

PATH = "/api/v1/populate/events"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_service() as service:
        service.taken = (PATH,)
        yield service


@contextmanager
def relay(stub: Stub, tmp_path: Path, *more: str) -> Iterator[Program]:
    key = tmp_path / "events.key"
    key.write_text("key of s3-events\n")
    arguments = ("--target", stub.url, "--key-file", str(key), "--bucket", "landing", *more)
    with running("chaos.upstreams.s3_events", *arguments, log=tmp_path / "log") as program:
        yield program


def send(program: Program, document: object) -> httpx.Response:
    return HTTP.post(f"{program.url}/v1/webhook", json=document)


def told(stub: Stub) -> list[str]:
    """Return the keys of all records that arrived, in their order."""
    bodies = [json.loads(seen.body) for seen in list(stub.requests) if seen.path == PATH]
    return [record["s3"]["object"]["key"] for body in bodies for record in body["Records"]]


def key(number: int) -> str:
    return f"acme/2026-11-27/findings.{number}.csv"


def events(program: Program, outcome: str) -> float:
    return program.metric("lab_s3_events_total", outcome=outcome)


def test_events_arrive_in_order_in_few_calls_with_the_relay_s_key(stub: Stub, tmp_path: Path) -> None:
    with relay(stub, tmp_path) as program:
        for number in range(150):
            assert send(program, created(key(number))).status_code == 202
        assert send(program, created("acme", is_directory=True)).json() == {"events": 0}
        eventually(lambda: len(told(stub)) == 150, 10, "all have arrived")
        eventually(lambda: events(program, "delivered") == 150, 3, "and are counted")
        assert program.metric("lab_s3_webhooks_total", outcome="ignored") == 1
    assert told(stub) == [key(number) for number in range(150)]
    calls = [seen for seen in stub.requests if seen.path == PATH]
    assert {seen.client for seen in calls} == {"s3-events"}
    assert len(calls) <= 6
    assert all(len(json.loads(seen.body)["Records"]) <= 100 for seen in calls)


def test_garbage_is_counted_and_reaches_nobody(stub: Stub, tmp_path: Path) -> None:
    with relay(stub, tmp_path) as program:
        url = f"{program.url}/v1/webhook"
        bodies: list[Any] = [b"", b"\xff", b"[1", b"{}", b'{"key": 1}', b"[" * 5000, b"x" * 5_000_000]
        for body in bodies:
            assert HTTP.post(url, content=body).status_code == 400
        assert HTTP.get(url).status_code == 405
        assert program.metric("lab_s3_webhooks_total", outcome="garbage") == len(bodies)
        assert send(program, created(key(1))).status_code == 202
        eventually(lambda: told(stub) == [key(1)], 5, "it still relays")


def test_a_service_that_is_away_gets_them_when_it_is_back(stub: Stub, tmp_path: Path) -> None:
    with relay(stub, tmp_path) as program:
        stub.mode = "unavailable"
        send(program, created(key(1)))
        eventually(lambda: program.metric("lab_s3_event_retries_total") >= 2, 10, "it tries again")
        send(program, created(key(2)))
        stub.mode = "ok"
        eventually(lambda: events(program, "delivered") == 2, 15, "both are delivered")
        assert events(program, "dropped") == 0
    assert told(stub)[-2:] == [key(1), key(2)]


def test_what_cannot_be_delivered_in_time_is_dropped_and_counted(stub: Stub, tmp_path: Path) -> None:
    with relay(stub, tmp_path, "--give-up-seconds", "1", "--queue-max", "2") as program:
        stub.mode = "hang"
        send(program, created(key(1)))
        eventually(lambda: stub.in_flight == 1, 5, "the first is under way")
        answers = [send(program, created(key(number))).status_code for number in (2, 3, 4)]
        assert answers == [202, 202, 503]
        assert program.metric("lab_s3_webhooks_total", outcome="refused") == 1
        stub.mode = "unavailable"
        stub.release.set()
        eventually(lambda: events(program, "dropped") == 3, 15, "all are given up")
        assert program.events("events_dropped")
        stub.mode = "ok"
        send(program, created(key(5)))
        eventually(lambda: events(program, "delivered") == 1, 5, "later ones are delivered")


def test_what_the_service_refuses_is_not_sent_again(stub: Stub, tmp_path: Path) -> None:
    stub.taken = ()  # 404
    with relay(stub, tmp_path) as program:
        send(program, created(key(1)))
        eventually(lambda: events(program, "rejected") == 1, 5, "it is counted")
        assert program.metric("lab_s3_event_retries_total") == 0
        assert program.events("events_rejected")


def test_events_go_wrong_when_told_to(stub: Stub, tmp_path: Path) -> None:
    with relay(stub, tmp_path) as program:
        admin = f"{program.url}/admin/behaviour"
        wrong: list[Any] = [{"duplicate_rate": 2}, {"lose_rate": "all"}, {"unknown": 1}, []]
        for one in wrong:
            assert HTTP.put(admin, json=one).status_code == 422
        assert HTTP.put(admin, content=b"{").status_code == 422
        HTTP.put(admin, json={"duplicate_rate": 1.0, "reorder_rate": 0.5})
        for number in range(30):
            send(program, created(key(number)))
        eventually(lambda: len(told(stub)) == 60, 10, "each has arrived twice")
        assert sorted(told(stub)) == sorted([key(number) for number in range(30)] * 2)
        assert list(dict.fromkeys(told(stub))) != [key(number) for number in range(30)]
        HTTP.put(admin, json={"lose_rate": 1.0})
        send(program, created(key(98)))
        assert HTTP.delete(admin).json() == {"duplicate_rate": 0.0, "reorder_rate": 0.0, "lose_rate": 0.0}
        send(program, created(key(99)))
        eventually(lambda: told(stub)[-1] == key(99), 5, "the next one arrives")
        assert key(98) not in told(stub)
        assert program.metric("lab_s3_event_mishaps_total", kind="lost") == 1
