"""nginx as configured, before real HTTP servers."""

from __future__ import annotations

import dataclasses
import json
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
            eventually(
                lambda: httpx.get(f"{listen.url}/health").status_code == 200,
                within_seconds=20,
                what="nginx serves",
            )
            for api in apis:
                api.seen.clear()
            yield Front(listen.url, apis, log)
        finally:
            nginx.terminate()
            nginx.wait(timeout=10)
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


def test_a_body_over_a_megabyte_is_refused_before_the_service_sees_it(front: Front) -> None:
    assert httpx.post(front.url, content=b"x" * (1024 * 1024 + 1)).status_code == 413
    assert front.requests("POST") == 0


def test_the_access_log_is_json_with_the_request_id(front: Front) -> None:
    httpx.get(f"{front.url}/a%22b", headers={"X-Request-ID": "req-9"})

    def logged() -> dict[str, str] | None:
        lines = [json.loads(line) for line in front.log.read_text(encoding="utf-8").splitlines()]
        return next((line for line in lines if line["request_id"] == "req-9"), None)

    line = eventually(logged, within_seconds=10, what="the request is in the access log")
    assert (line["status"], line["uri"], line["method"]) == ("200", '/a"b', "GET")
