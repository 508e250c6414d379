"""nginx as configured, before real HTTP servers."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import re
import select
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.jobs.events import HEARTBEAT_SECONDS
from chaos.config import ROOT
from tests.support.nginx import Nginx, nginx_before


class Api(ThreadingHTTPServer):
    """An API that notes what it gets. With ``mute`` it hangs up on whoever asks, as a dying process does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.mute = False
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Api

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.command, {key.lower(): value for key, value in self.headers.items()}))
        self.close_connection = True
        if self.server.mute:
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _answer  # noqa: N815 -- the base class looks these names up

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- its signature
        pass


@dataclasses.dataclass
class Front:
    nginx: Nginx
    apis: list[Api]

    @property
    def url(self) -> str:
        return self.nginx.url

    def requests(self, method: str) -> int:
        return sum(seen == method for api in self.apis for seen, _ in api.seen)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    apis = [Api(), Api()]
    try:
        with nginx_before((apis[0].server_port, apis[1].server_port), tmp_path / "a state") as nginx:
            for api in apis:
                api.seen.clear()
            yield Front(nginx, apis)
    finally:
        for api in apis:
            api.shutdown()
            api.server_close()


def test_callers_cannot_choose_their_address_and_may_choose_a_sane_request_id(front: Front) -> None:
    headers = {"X-Forwarded-For": "10.0.0.1", "X-Request-ID": "req-1"}
    assert httpx.get(front.url, headers=headers).status_code == 200
    assert httpx.get(front.url, headers={"X-Request-ID": "no good\tid"}).status_code == 200
    assert httpx.get(front.url).status_code == 200
    sent = [headers for api in front.apis for _, headers in api.seen]
    assert {each["x-forwarded-for"] for each in sent} == {"127.0.0.1"}
    ids = {each["x-request-id"] for each in sent}
    assert "req-1" in ids
    assert len(ids) == 3
    assert not any(" " in each for each in ids)


def test_one_dead_api_is_passed_over_for_reads_and_a_post_is_never_sent_twice(front: Front) -> None:
    front.apis[0].mute = True
    assert [httpx.get(front.url).status_code for _ in range(6)] == [200] * 6
    for api in front.apis:
        api.mute = True
        api.seen.clear()
    assert httpx.post(front.url, content=b"{}").status_code == 502
    assert front.requests("POST") <= 1


def test_a_post_with_an_idempotency_key_is_sent_to_the_other_api_with_its_body(front: Front) -> None:
    front.apis[0].mute = True
    for number in range(6):
        answer = httpx.post(front.url, content=b"{}", headers={"Idempotency-Key": f"key-{number}"})
        assert answer.status_code == 200
    assert {headers["content-length"] for api in front.apis for _, headers in api.seen} == {"2"}
    assert front.requests("POST") > 6, "no POST met the dead API"


def test_hundreds_of_callers_keep_their_connections(front: Front) -> None:
    host, port = urlsplit(front.url).hostname, urlsplit(front.url).port
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection((host, port), 10)) for _ in range(600)]
        for caller in callers:
            caller.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert caller.recv(65536).startswith(b"HTTP/1.1 200")
        readable, _, _ = select.select(callers, [], [], 0)
        assert readable == [], "nginx has closed connections to make room"


def test_an_api_that_is_back_serves_at_once_when_the_other_goes(front: Front) -> None:
    front.apis[0].mute = True
    for _ in range(4):  # one of them meets it, and sets it aside
        assert httpx.get(front.url).status_code == 200
    front.apis[0].mute, front.apis[1].mute = False, True
    for number in range(6):
        assert httpx.get(front.url).status_code == 200
        sent = httpx.post(front.url, content=b"{}", headers={"Idempotency-Key": f"key-{number}"})
        assert sent.status_code == 200


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01\Z")


@pytest.mark.parametrize(
    "given", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-01-more"]
)
def test_a_valid_trace_context_is_passed_on_and_logged(front: Front, given: str) -> None:
    httpx.get(front.url, headers={"traceparent": given, "tracestate": "vendor=1", "X-Request-ID": "traced"})
    [(_, seen)] = [seen for api in front.apis for seen in api.seen]
    assert (seen["traceparent"], seen["tracestate"]) == (given, "vendor=1")
    assert front.nginx.logged("traced")["trace_id"] == TRACE


@pytest.mark.parametrize(
    "given",
    [
        [],
        [f"00-{TRACE}-{SPAN}"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-01-more"],
        [f"00-{TRACE.upper()}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"],
        ["x" * 2000],
    ],
)
def test_without_a_valid_trace_context_a_new_one_begins_and_is_logged(front: Front, given: list[str]) -> None:
    headers = [("traceparent", value) for value in given]
    httpx.get(front.url, headers=[*headers, ("tracestate", "vendor=1"), ("X-Request-ID", "new")])
    [(_, seen)] = [seen for api in front.apis for seen in api.seen]
    assert TRACEPARENT.match(seen["traceparent"])
    assert TRACE not in seen["traceparent"]
    assert "tracestate" not in seen
    assert front.nginx.logged("new")["trace_id"] == seen["traceparent"].split("-")[1]


def test_a_body_over_a_megabyte_is_refused_before_the_service_sees_it(front: Front) -> None:
    assert httpx.post(front.url, content=b"x" * (1024 * 1024 + 1)).status_code == 413
    assert front.requests("POST") == 0


def test_an_uploaded_image_may_be_larger(front: Front) -> None:
    image = b"x" * (2 * 1024 * 1024)
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = httpx.post(f"{front.url}/api/v1/avatars", content=image, headers=headers)
        assert answer.status_code == 200
    assert httpx.post(f"{front.url}/api/v1/avatars", content=image * 2).status_code == 413


def oversized(front: Front) -> list[httpx.Response]:
    long = "x" * 9000
    return [
        httpx.post(f"{front.url}/a", content=b"x" * (1024 * 1024 + 1)),
        httpx.get(f"{front.url}/{long}"),
        httpx.get(f'{front.url}/a"b', headers={"X-Long": long}),
    ]


def test_what_nginx_answers_itself_is_a_problem_with_the_headers_of_every_answer(front: Front) -> None:
    refused = oversized(front)
    assert [answer.status_code for answer in refused] == [413, 414, 431]
    for api in front.apis:
        api.mute = True
    repeatable = {"X-Request-ID": "lost", "Idempotency-Key": "k"}
    lost = [
        httpx.get(f"{front.url}/a", headers={"X-Request-ID": "lost"}),
        httpx.post(f"{front.url}/a", headers=repeatable),
        httpx.post(f"{front.url}/api/v1/avatars", headers=repeatable),
    ]
    for answer in lost:
        assert (answer.status_code, answer.headers["retry-after"]) == (502, "1")
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == "lost"
    for answer in [*refused, *lost]:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "/metrics?x=1", "//metrics", "/%6Detrics", "/a/../metrics"]
)
def test_figures_are_for_those_who_reach_an_api_itself(front: Front, path: str) -> None:
    host, port = urlsplit(front.url).hostname, urlsplit(front.url).port
    with contextlib.closing(http.client.HTTPConnection(str(host), port, timeout=10)) as connection:
        connection.request("GET", path)  # as it is written
        answer = connection.getresponse()
        problem = json.loads(answer.read())
    assert (answer.status, problem["status"]) == (404, 404)
    assert answer.headers["content-type"] == "application/problem+json"
    assert front.requests("GET") == 0
    assert httpx.get(f"{front.url}/metrics-of-mine").status_code == 200


def test_the_access_log_is_json_with_the_request_id(front: Front) -> None:
    httpx.get(f"{front.url}/a%22b", headers={"X-Request-ID": "req-9"})

    line = front.nginx.logged("req-9")
    assert (line["status"], line["uri"], line["method"]) == ("200", '/a"b', "GET")


def test_a_quiet_event_stream_is_heard_of_before_nginx_gives_it_up() -> None:
    text = (ROOT / "deploy" / "nginx" / "nginx.conf.j2").read_text(encoding="utf-8")
    [seconds] = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(seconds) > 2 * HEARTBEAT_SECONDS
