"""The ``api`` source against servers that do what servers do."""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import structlog

from app.cache.cache import Cache
from app.cache.settings import CacheSettings
from app.net.breaker import Breaker, BreakerState
from app.net.guard import Guard
from app.sources import BYTES_MAX, SourceError
from app.sources.api import ApiConfig, ApiLimits, ApiSource, Endpoint
from app.sources.breakers import Breakers
from app.sources.contracts import CONTRACTS
from app.sources.exchange import retry_after_seconds
from tests.support.programs import Program, running
from tests.support.scripted import JSON, Answer, Asked, Scripted, page, scripted
from tests.support.valkey import ValkeyServer

CONTROL = {
    "id": "ctl-1",
    "framework": "SOC2",
    "title": "t",
    "status": "passing",
    "owner": "team-1",
    "updated_at": "2026-01-01T00:00:00Z",
}
CONFIG = ApiConfig(endpoint="evidence", resource="controls")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.fixture
def server(upstream: Scripted) -> Scripted:
    upstream.answer = lambda _: page([CONTROL])
    upstream.asked.clear()
    return upstream


@pytest.fixture
def cache(valkey: ValkeyServer) -> Iterator[Cache]:
    with closing(Cache(valkey.url, CacheSettings(cache_timeout_seconds=5))) as cache:
        yield cache


def source(
    url: str, *, endpoint: Endpoint | None = None, limits: ApiLimits | None = None, cache: Cache | None = None
) -> ApiSource:
    one = replace(endpoint or Endpoint("", contract="evidence"), url=url)
    return ApiSource(
        {"evidence": one}, Guard([url]), limits or ApiLimits(2), cache=cache, keep_seconds=60 if cache else 0
    )


def failure(one: ApiSource, config: ApiConfig = CONFIG) -> SourceError:
    with pytest.raises(SourceError) as failed:
        one.collect(config)
    return failed.value


# --- what is asked ---


def test_a_url_is_read_page_by_page_with_what_it_brings(server: Scripted) -> None:
    server.answer = lambda asked: page([{"n": asked.query["page"]}], int(asked.query["page"]), pages=3)
    config = ApiConfig(url=f"{server.url}/v2/things?since=2026-01-01", page_size=7)
    assert source(server.url).collect(config) == [{"n": "1"}, {"n": "2"}, {"n": "3"}]
    assert [dict(asked.query) for asked in server.asked] == [
        {"since": "2026-01-01", "page": str(n), "page_size": "7"} for n in (1, 2, 3)
    ]


def test_a_page_that_has_not_changed_is_taken_from_the_cache(server: Scripted, cache: Cache) -> None:
    def conditional(asked: Asked) -> Answer:
        if asked.headers.get("if-none-match") == '"one"':
            return Answer(304, b"", {"ETag": '"one"'})
        return page([CONTROL], ETag='"one"')

    server.answer = conditional
    one = source(server.url, cache=cache)
    with structlog.testing.capture_logs() as lines:
        assert [one.collect(CONFIG, client_id="acme") for _ in range(3)] == [[CONTROL]] * 3
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, '"one"', '"one"']
    assert [line["status"] for line in lines] == [200, 304, 304]
    one.collect(CONFIG, client_id="other")  # has not read it yet
    assert server.asked[-1].headers.get("if-none-match") is None


def test_a_page_with_another_tag_replaces_the_kept_one(server: Scripted, cache: Cache) -> None:
    numbers = itertools.count(1)
    server.answer = lambda _: page([{**CONTROL, "id": f"ctl-{(n := next(numbers))}"}], ETag=f'"{n}"')
    one = source(server.url, cache=cache)
    assert [one.collect(CONFIG, client_id="changing")[0]["id"] for _ in range(3)] == [
        "ctl-1",
        "ctl-2",
        "ctl-3",
    ]
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, '"1"', '"2"']


def test_a_page_that_broke_its_promise_is_not_kept(server: Scripted, cache: Cache) -> None:
    server.answer = lambda _: page([{"id": 7}], ETag='"bad"')
    one = source(server.url, cache=cache)
    for _ in range(2):
        failure(one)
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, None]


@pytest.mark.parametrize("etag", ["bare", '"a\tb"', '"' + "x" * 300 + '"', 'W/"ok"x'])
def test_a_tag_that_is_none_is_not_sent_back(server: Scripted, cache: Cache, etag: str) -> None:
    server.answer = lambda _: page([CONTROL], ETag=etag)
    one = source(server.url, cache=cache)
    for _ in range(2):
        one.collect(CONFIG, client_id=etag)
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, None]


def test_an_answer_nobody_asked_to_be_spared_is_an_error(server: Scripted) -> None:
    server.answer = lambda _: Answer(304, b"")
    assert failure(source(server.url)).reason == "http_304"


def test_a_fresh_page_is_not_asked_for_at_all(server: Scripted, cache: Cache) -> None:
    one = source(server.url, endpoint=Endpoint("", "evidence", fresh_seconds=60), cache=cache)
    assert [one.collect(CONFIG, client_id="fresh") for _ in range(3)] == [[CONTROL]] * 3
    assert len(server.asked) == 1


# --- what is answered ---


@pytest.mark.parametrize(
    ("answer", "reason", "retryable"),
    [
        (page([{**CONTROL, "status": "fine"}]), "invalid_response", True),
        (page([{**CONTROL, "id": 7}]), "invalid_response", True),
        (page([{"id": "ctl-1"}]), "invalid_response", True),
        (page(["text"]), "invalid_response", True),
        (Answer(body=b'{"items": []}'), "invalid_response", True),
        (Answer(body=b"{"), "invalid_response", True),
        (Answer(body=b""), "invalid_response", True),
        (replace(page([CONTROL]), headers={"Content-Type": "text/html"}), "invalid_response", True),
        (replace(page([CONTROL]), headers={}), "invalid_response", True),
        (replace(page([CONTROL]), headers={**JSON, "Content-Encoding": "br"}), "invalid_response", True),
        (replace(page([CONTROL]), headers={**JSON, "Content-Encoding": "gzip"}), "invalid_response", True),
        (replace(page([CONTROL]), length=10_000), "transport", True),
        (Answer(204, b""), "http_204", False),
        (Answer(206, b"{}"), "http_206", False),
        (Answer(301, b"", {"Location": "/elsewhere"}), "http_301", False),
        (Answer(401), "http_401", False),
        (Answer(404), "http_404", False),
        (Answer(408), "http_408", True),
        (Answer(429), "http_429", True),
        (Answer(500), "http_500", True),
        (Answer(503), "http_503", True),
    ],
)
def test_every_answer_has_its_end(server: Scripted, answer: Answer, reason: str, retryable: bool) -> None:  # noqa: FBT001
    server.answer = lambda _: answer
    failed = failure(source(server.url))
    assert (failed.reason, failed.retryable) == (reason, retryable)
    assert len(server.asked) == 1


def test_more_than_was_promised_is_no_breach_and_is_kept(server: Scripted) -> None:
    server.answer = lambda _: page([{**CONTROL, "more": [1, None]}])
    assert source(server.url).collect(CONFIG) == [{**CONTROL, "more": [1, None]}]


def test_another_resource_is_held_to_the_envelope_only(server: Scripted) -> None:
    server.answer = lambda _: page([{"anything": 1}])
    things = ApiConfig(endpoint="evidence", resource="things")
    assert source(server.url).collect(things) == [{"anything": 1}]
    other = source(server.url, endpoint=Endpoint("", contract=None))
    assert other.collect(CONFIG) == [{"anything": 1}]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/vnd.x+json"])
def test_json_by_any_of_its_names_is_read(server: Scripted, content_type: str) -> None:
    server.answer = lambda _: replace(page([CONTROL]), headers={"Content-Type": content_type})
    assert source(server.url).collect(CONFIG) == [CONTROL]


# --- how much of it ---


def zipped(body: bytes) -> Answer:
    return Answer(body=gzip.compress(body), headers={**JSON, "Content-Encoding": "gzip"})


def test_gzip_is_unpacked(server: Scripted) -> None:
    server.answer = lambda _: zipped(page([CONTROL]).body)
    assert source(server.url).collect(CONFIG) == [CONTROL]
    assert server.asked[0].headers["accept-encoding"] == "gzip"


def test_a_gzip_that_fills_the_memory_is_left_in_time(server: Scripted) -> None:
    bomb = zipped(b'{"items": [' + b" " * (BYTES_MAX * 3))
    assert len(bomb.body) < BYTES_MAX / 50
    server.answer = lambda _: bomb
    one = source(server.url)
    tracemalloc.start()
    try:
        failed = failure(one)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (failed.reason, failed.retryable) == ("too_much", False)
    assert peak_bytes < 3 * BYTES_MAX


@pytest.mark.parametrize("cut", [slice(None, -5), slice(None, 30)])
def test_a_gzip_that_ends_early_is_no_answer(server: Scripted, cut: slice) -> None:
    whole = zipped(page([CONTROL] * 50).body)
    server.answer = lambda _: replace(whole, body=whole.body[cut])
    assert failure(source(server.url)).reason == "invalid_response"


def test_what_follows_a_gzip_is_no_part_of_it(server: Scripted) -> None:
    whole = zipped(page([CONTROL]).body)
    server.answer = lambda _: replace(whole, body=whole.body + whole.body)
    assert failure(source(server.url)).reason == "invalid_response"


def test_an_answer_without_end_is_left_in_time(server: Scripted) -> None:
    server.answer = lambda _: Answer(pieces=itertools.repeat(b" " * 65536))
    assert failure(source(server.url)).reason == "too_much"


# --- when to ask again ---


def test_what_the_server_asks_for_is_passed_on(server: Scripted) -> None:
    server.answer = lambda _: Answer(429, headers={**JSON, "Retry-After": "17"})
    assert failure(source(server.url)).retry_after_seconds == 17
    server.answer = lambda _: Answer(503, headers={**JSON, "Retry-After": "9999999"})
    assert failure(source(server.url)).retry_after_seconds == 3600


NOW = dt.datetime(2026, 11, 22, 12, 0, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 5 "}, 5),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30),
        ({"Retry-After": "Sunday, 22-Nov-26 12:00:30 GMT"}, 30),
        ({"Retry-After": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0),
        ({"Retry-After": "Sun, 22 Nov 2037 11:00:00 GMT"}, 3600),
        # By the server's own clock, which is an hour ahead.
        ({"Retry-After": "Sun, 22 Nov 2026 13:00:30 GMT", "Date": "Sun, 22 Nov 2026 13:00:00 GMT"}, 30),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "Sun, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    sent = httpx.Headers([(name.encode(), value.encode()) for name, value in headers.items()])
    assert retry_after_seconds(sent, now=NOW) == seconds


def with_breaker(url: str, open_seconds: float) -> ApiSource:
    def make(on_change: object) -> Breaker:
        return Breaker(failures_max=3, open_seconds=open_seconds, on_change=on_change)  # type: ignore[arg-type]

    return replace(source(url), breakers=Breakers(make))


def test_a_server_that_fails_is_soon_left_alone_and_then_tried(server: Scripted) -> None:
    server.answer = lambda _: Answer(500)
    one = with_breaker(server.url, open_seconds=0.3)
    assert [failure(one).reason for _ in range(3)] == ["http_500"] * 3
    for _ in range(5):
        failed = failure(one)
        assert (failed.reason, failed.retryable, failed.attempted) == ("circuit_open", True, False)
        assert failed.retry_after_seconds is not None
        assert failed.retry_after_seconds > 0
    assert len(server.asked) == 3
    server.answer = lambda _: page([CONTROL])
    give_up_at = time.monotonic() + 10
    while one.breakers.of("evidence").state is not BreakerState.CLOSED:
        assert time.monotonic() < give_up_at
        try:
            assert one.collect(CONFIG) == [CONTROL]
        except SourceError as exc:
            assert exc.reason == "circuit_open"  # noqa: PT017
    assert len(server.asked) == 4


def test_a_server_that_is_away_is_left_alone_as_well() -> None:
    with scripted() as server:
        url = server.url
    one = with_breaker(url, open_seconds=60)
    assert [failure(one).reason for _ in range(5)] == ["refused"] * 3 + ["circuit_open"] * 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_a_server_that_says_no_is_alive(server: Scripted, status: int) -> None:
    server.answer = lambda _: Answer(status)
    one = with_breaker(server.url, open_seconds=60)
    assert [failure(one).reason for _ in range(8)] == [f"http_{status}"] * 8


def test_one_server_does_not_answer_for_another(server: Scripted) -> None:
    with scripted(lambda _: Answer(500)) as bad:
        one = replace(with_breaker(server.url, open_seconds=60), guard=Guard([server.url, bad.url]))
        for _ in range(5):
            failure(one, ApiConfig(url=f"{bad.url}/v1/controls"))
        assert one.collect(CONFIG) == [CONTROL]


# --- the lab's own ---


def test_the_evidence_api_keeps_the_promise_that_it_is_held_to(tmp_path: Path) -> None:
    with running("chaos.upstreams.evidence", log=tmp_path / "log") as program:
        one = source(program.url)
        for resource in CONTRACTS["evidence"]:
            assert len(one.collect(ApiConfig(endpoint="evidence", resource=resource))) >= 120
        _told_to(program, garbage_rate=1, garbage="schema")
        assert failure(one).reason == "invalid_response"
        _told_to(program, rate_limit_rate=1, retry_after_seconds=9)
        assert failure(one).retry_after_seconds == 9


def _told_to(program: Program, **behaviour: object) -> None:
    httpx.put(f"{program.url}/admin/behaviour", json=behaviour).raise_for_status()
