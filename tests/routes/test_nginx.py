"""nginx as configured, before real HTTP servers."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos.domain.topology import Address, Proxy, embedded_topology
from chaos.stacks.rendering import render_observability
from tests.support.monitoring import program
from tests.support.ports import free_port
from tests.support.waiting import eventually


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
    url: str
    apis: list[Api]
    log: Path

    def requests(self, method: str) -> int:
        return sum(seen == method for api in self.apis for seen, _ in api.seen)


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    state = tmp_path / "a state"
    apis = [Api(), Api()]
    base = embedded_topology("test", 28_000)
    listen = Address("127.0.0.1", free_port())
    proxies = {
        name: Proxy(name, Address("127.0.0.1", api.server_port), listen)
        for name, api in zip(("api-1", "api-2"), apis, strict=True)
    }
    topology = dataclasses.replace(
        base,
        direct={**base.direct, "nginx": listen},
        service_proxies={**base.service_proxies, **proxies},
    )
    files = render_observability(topology, lab_id="test", state_dir=state, clock=None)
    for folder in ("run", "data/nginx"):
        (state / folder).mkdir(parents=True)
    config, log = state / "nginx.conf", state / "nginx.log"
    config.write_text(files["nginx/nginx.conf"], encoding="utf-8")
    with (
        log.open("wb") as out,
        subprocess.Popen([program("nginx"), "-e", "stderr", "-c", config], stdout=out) as nginx,
    ):
        try:
            eventually(lambda: _serves(listen.url), within_seconds=20, what="nginx serves")
            for api in apis:
                api.seen.clear()
            yield Front(listen.url, apis, log)
        finally:
            nginx.terminate()
            nginx.wait(timeout=10)
            for api in apis:
                api.shutdown()
                api.server_close()


def logged(front: Front, request_id: str) -> dict[str, str]:
    def found() -> dict[str, str] | None:
        lines = [json.loads(line) for line in front.log.read_text(encoding="utf-8").splitlines()]
        return next((line for line in lines if line["request_id"] == request_id), None)

    return eventually(found, within_seconds=10, what="the request is in the access log")


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


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01\Z")


@pytest.mark.parametrize(
    "given", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-01-more"]
)
def test_a_valid_trace_context_is_passed_on_and_logged(front: Front, given: str) -> None:
    httpx.get(front.url, headers={"traceparent": given, "tracestate": "vendor=1", "X-Request-ID": "traced"})
    [(_, seen)] = [seen for api in front.apis for seen in api.seen]
    assert (seen["traceparent"], seen["tracestate"]) == (given, "vendor=1")
    assert logged(front, "traced")["trace_id"] == TRACE


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
    assert logged(front, "new")["trace_id"] == seen["traceparent"].split("-")[1]


def test_a_body_over_a_megabyte_is_refused_before_the_service_sees_it(front: Front) -> None:
    assert httpx.post(front.url, content=b"x" * (1024 * 1024 + 1)).status_code == 413
    assert front.requests("POST") == 0


def test_the_access_log_is_json_with_the_request_id(front: Front) -> None:
    httpx.get(f"{front.url}/a%22b", headers={"X-Request-ID": "req-9"})

    line = logged(front, "req-9")
    assert (line["status"], line["uri"], line["method"]) == ("200", '/a"b', "GET")
