from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chaos.errors import ExitCode
from tests.support.programs import HTTP, Program, eventually, let_pass, running
from tests.support.programs_webhook import webhook


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "notifications.jsonl"


@pytest.fixture
def pager(tmp_path: Path, store: Path) -> Iterator[Program]:
    with running("chaos.pager", "--store", str(store), log=tmp_path / "pager.log") as program:
        yield program


@pytest.fixture(scope="module")
def idle_pager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Return a pager shared by tests that must leave it as empty as they found it."""
    directory = tmp_path_factory.mktemp("pager")
    with running("chaos.pager", "--store", str(directory / "store"), log=directory / "log") as program:
        yield program


def notify(
    program: Program, name: str = "A", receiver: str = "pager", status: str = "firing"
) -> dict[str, Any]:
    body = webhook(name, status, receiver)
    answer = HTTP.post(f"{program.url}/v1/notify/{receiver}", json=body)
    assert answer.status_code == 200, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def stored(program: Program, **query: str | float) -> list[dict[str, Any]]:
    answer = HTTP.get(f"{program.url}/v1/notifications", params=query)
    assert answer.status_code == 200, answer.text
    notifications: list[dict[str, Any]] = answer.json()["notifications"]
    return notifications


def names(notifications: list[dict[str, Any]]) -> list[str]:
    return [item["payload"]["groupLabels"]["alertname"] for item in notifications]


def test_a_notification_is_returned_as_it_was_sent_with_its_arrival(pager: Program) -> None:
    before = time.time()
    answer = notify(pager, "PostgresUnreachable")
    after = time.time()

    (item,) = stored(pager)
    assert item["payload"] == webhook("PostgresUnreachable")
    assert item["receiver"] == "pager"
    assert item["id"] == answer["id"] == 1
    assert before <= item["received_unix"] <= after
    assert pager.metric("lab_pager_notifications_total", receiver="pager", status="firing") == 1
    assert pager.metric("lab_pager_notifications_total", receiver="pager", status="resolved") == 0


def test_what_was_answered_with_200_survives_kill_9(tmp_path: Path, store: Path) -> None:
    for generation in range(3):
        with running("chaos.pager", "--store", str(store), log=tmp_path / f"{generation}.log") as program:
            notify(program, f"Alert{generation}")
            program.kill()

    with running("chaos.pager", "--store", str(store), log=tmp_path / "last.log") as program:
        assert names(stored(program)) == ["Alert0", "Alert1", "Alert2"]
        assert notify(program, "Alert3")["id"] == 4


def test_a_line_torn_by_a_crash_is_dropped_and_the_rest_is_kept(tmp_path: Path, store: Path) -> None:
    with running("chaos.pager", "--store", str(store), log=tmp_path / "1.log") as program:
        notify(program, "Whole")
        program.kill()
    with store.open("ab") as file:
        file.write(b'{"id":2,"receiver":"pager","received_un')

    with running("chaos.pager", "--store", str(store), log=tmp_path / "2.log") as program:
        notify(program, "Next")
        assert names(stored(program)) == ["Whole", "Next"]
    assert [json.loads(line)["id"] for line in store.read_text().splitlines()] == [1, 2]


def test_the_arrival_is_when_the_request_came_not_when_its_body_was_complete(pager: Program) -> None:
    body = json.dumps(webhook()).encode()
    head = f"POST /v1/notify/pager HTTP/1.1\r\nHost: pager\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", pager.port), timeout=5) as connection:
        connection.sendall(head + body[:10])
        sent = time.time()
        let_pass(0.8)
        connection.sendall(body[10:])
        assert b"200 OK" in connection.recv(4096)

    assert stored(pager)[0]["received_unix"] < sent + 0.5


def test_filters_select_and_the_oldest_comes_first(pager: Program) -> None:
    notify(pager, "One")
    second = notify(pager, "Two", receiver="tickets")
    notify(pager, "Three", status="resolved")

    assert names(stored(pager)) == ["One", "Two", "Three"]
    assert names(stored(pager, receiver="tickets")) == ["Two"]
    assert names(stored(pager, since_unix=second["received_unix"])) == ["Two", "Three"]
    assert names(stored(pager, receiver="pager", since_unix=second["received_unix"])) == ["Three"]
    assert names(stored(pager, limit=2)) == ["One", "Two"]
    assert HTTP.get(f"{pager.url}/v1/notifications?limit=2").json()["more"] is True
    assert HTTP.get(f"{pager.url}/v1/notifications?limit=3").json()["more"] is False


def test_a_bad_query_names_every_bad_parameter(idle_pager: Program) -> None:
    answer = HTTP.get(f"{idle_pager.url}/v1/notifications?receiver=boss&since_unix=nan&limit=0&color=red")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"receiver", "since_unix", "limit", "color"}


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in webhook().items() if key != field}


def with_alert(**changes: Any) -> dict[str, Any]:
    body = webhook()
    body["alerts"][0] |= changes
    return body


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ("{", 400, None),
        ("", 400, None),
        ([], 422, ""),
        (webhook() | {"version": "3"}, 422, "version"),
        (without("groupKey"), 422, "groupKey"),
        (webhook() | {"status": "maybe"}, 422, "status"),
        (webhook() | {"alerts": []}, 422, "alerts"),
        (webhook() | {"alerts": ["x"]}, 422, "alerts.0"),
        (webhook() | {"truncatedAlerts": -1}, 422, "truncatedAlerts"),
        (webhook() | {"commonLabels": {"severity": 1}}, 422, "commonLabels.severity"),
        (with_alert(labels=None), 422, "alerts.0.labels"),
        (with_alert(startsAt="yesterday"), 422, "alerts.0.startsAt"),
        (with_alert(fingerprint=""), 422, "alerts.0.fingerprint"),
    ],
)
def test_a_bad_body_is_refused_with_the_reason_and_not_stored(
    idle_pager: Program, body: Any, status: int, field: str | None
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    before = idle_pager.metric("lab_pager_refused_total", reason="body")

    answer = HTTP.post(f"{idle_pager.url}/v1/notify/pager", content=content)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert stored(idle_pager) == []
    assert idle_pager.metric("lab_pager_refused_total", reason="body") == before + 1


def test_an_unknown_receiver_a_wrong_method_and_a_huge_body_are_problems(idle_pager: Program) -> None:
    unknown = HTTP.post(f"{idle_pager.url}/v1/notify/boss", json=webhook())
    wrong = HTTP.get(f"{idle_pager.url}/v1/notify/pager")
    huge = HTTP.post(f"{idle_pager.url}/v1/notify/pager", content=b"[" + b" " * 1024 * 1024)
    missing = HTTP.get(f"{idle_pager.url}/nothing")

    assert [answer.status_code for answer in (unknown, wrong, huge, missing)] == [404, 405, 413, 404]
    assert "pager, tickets, deadman" in unknown.json()["detail"]
    types = {answer.headers["content-type"] for answer in (unknown, wrong, huge, missing)}
    assert types == {"application/problem+json"}
    assert stored(idle_pager) == []


def test_many_at_once_are_all_stored_once(pager: Program, store: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: notify(pager, f"A{number}"), range(40)))

    assert {answer["id"] for answer in answers} == set(range(1, 41))
    assert sorted(names(stored(pager))) == sorted(f"A{number}" for number in range(40))
    assert len(store.read_text().splitlines()) == 40


def test_a_full_disk_is_a_503_that_stores_nothing_and_passes(pager: Program, store: Path) -> None:
    notify(pager, "Before")
    pid, size_bytes = pager.process.pid, store.stat().st_size
    # A file size limit fails a write part of the way through, as a full disk does.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes + 3_000, resource.RLIM_INFINITY))
    refused = HTTP.post(f"{pager.url}/v1/notify/pager", json=webhook("During" * 500))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    notify(pager, "After")

    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert names(stored(pager)) == ["Before", "After"]
    assert [json.loads(line)["id"] for line in store.read_text().splitlines()] == [1, 2]
    assert pager.metric("lab_pager_refused_total", reason="disk") == 1


@pytest.mark.parametrize("what", ["store", "port"])
def test_a_second_pager_on_the_same_store_or_port_says_so(
    pager: Program, store: Path, tmp_path: Path, what: str
) -> None:
    port = pager.port if what == "port" else 0
    path = store if what == "store" else tmp_path / "other.jsonl"
    second = Program("chaos.pager", ["--port", str(port), "--store", str(path)], tmp_path / "2.log")
    try:
        assert second.process.wait(10) == ExitCode.ERROR
    finally:
        second.close()
    (line,) = second.events("program_failed")
    assert str(path if what == "store" else port) in str(line["reason"])
    notify(pager)


def test_a_store_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = tmp_path / "pager.log"
    program = Program("chaos.pager", ["--port", "0", "--store", str(tmp_path / "file" / "x")], log)
    try:
        assert program.process.wait(10) == ExitCode.ERROR
    finally:
        program.close()
    assert len(log.read_text().splitlines()) == 1
    assert program.events("program_failed")


def test_sigterm_ends_it_in_time_with_a_request_half_sent(pager: Program) -> None:
    with socket.create_connection(("127.0.0.1", pager.port), timeout=5) as connection:
        connection.sendall(b"POST /v1/notify/pager HTTP/1.1\r\nHost: pager\r\nContent-Length: 100\r\n\r\n{")
        assert pager.stop() == 0


def test_alertmanager_itself_is_understood(pager: Program, alertmanager: Callable[[str], str]) -> None:
    origin = alertmanager(pager.url)
    alert = {"labels": {"alertname": "Real", "severity": "critical"}, "annotations": {"summary": "s"}}
    assert HTTP.post(f"{origin}/api/v2/alerts", json=[alert]).status_code == 200

    (item,) = eventually(lambda: stored(pager, receiver="pager"), 10, "a notification of Alertmanager")
    assert item["payload"]["status"] == "firing"
    assert item["payload"]["alerts"][0]["labels"]["alertname"] == "Real"
