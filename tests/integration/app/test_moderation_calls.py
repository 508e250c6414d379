"""How calls of a real moderation API end, whatever it does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.avatars.moderation import CATEGORIES, Content, ModerationError, Moderator
from app.avatars.moderation.wiring import moderator
from app.settings import Settings
from tests.support.canned import canned, http_answer
from tests.support.pictures import picture
from tests.support.ports import free_port
from tests.support.programs import HTTP, Program, running

TIMEOUT_SECONDS = 0.8
QUIET: dict[str, Any] = {"latency_median_ms": 0}
GOOD = {"id": "m-1", "scores": dict.fromkeys(CATEGORIES, 0.1), "flagged": False, "model": "m"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    log = tmp_path_factory.mktemp("moderation") / "log"
    with running("chaos.upstreams.moderation", "--behaviour", json.dumps(QUIET), log=log) as started:
        yield started


@pytest.fixture
def behave(program: Program) -> Iterator[Callable[..., None]]:
    def behave(**behaviour: Any) -> None:
        assert HTTP.put(f"{program.url}/admin/behaviour", json=behaviour).status_code == 200

    yield behave
    HTTP.delete(f"{program.url}/admin/behaviour")


def asking(url: str, **overrides: Any) -> Moderator:
    settings = {
        "avatars_moderation": "http",
        "avatars_moderation_url": url,
        "avatars_moderation_timeout_seconds": TIMEOUT_SECONDS,
        "avatars_moderation_connect_timeout_seconds": 0.5,
        "avatars_breaker_failures": 3,
        "sources_allow": [url],
    }
    return moderator(Settings.model_validate({**settings, **overrides}))


def failure(url: str, **overrides: Any) -> ModerationError:
    with pytest.raises(ModerationError) as raised:
        asking(url, **overrides).moderate(Content(text="a lighthouse"), key="k-failure")
    return raised.value


def test_an_answer_is_scores_of_the_content(program: Program) -> None:
    api = asking(program.url)
    quiet = api.moderate(Content(text="a lighthouse in the fog"), key="k-quiet")
    loud = api.moderate(Content(text="a bloody massacre"), key="k-loud")
    seen = api.moderate(Content(png=picture(colour=(224, 172, 140))), key="k-image")
    assert set(CATEGORIES) <= set(quiet.scores)
    assert not quiet.flagged
    assert loud.flagged
    assert loud.scores["violence"] > 0.9
    assert quiet.scores["violence"] < 0.1
    assert seen.scores["sexual"] > 0.6


def test_the_same_key_has_the_same_answer_and_other_content_under_it_none(program: Program) -> None:
    api = asking(program.url)
    assert api.moderate(Content(text="tea"), key="k-1") == api.moderate(Content(text="tea"), key="k-1")
    with pytest.raises(ModerationError) as raised:
        api.moderate(Content(text="coffee"), key="k-1")
    assert (raised.value.reason, raised.value.retryable) == ("client_error", False)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"error_rate": 1}, "server_error"),
        ({"garbage_rate": 1, "garbage": "html"}, "invalid_response"),
        ({"garbage_rate": 1, "garbage": "truncated"}, "invalid_response"),
        ({"garbage_rate": 1, "garbage": "schema"}, "invalid_response"),
        ({"hang_rate": 1}, "timeout"),
        ({"slow_rate": 1, "slow_seconds": 10}, "timeout"),
    ],
)
def test_each_way_of_going_wrong_may_pass(
    program: Program, behave: Callable[..., None], behaviour: dict[str, Any], reason: str
) -> None:
    behave(**behaviour)
    started = time.monotonic()
    error = failure(program.url)
    assert (error.reason, error.retryable) == (reason, True)
    assert time.monotonic() - started < TIMEOUT_SECONDS + 1
    behave()
    assert asking(program.url).moderate(Content(text="a lighthouse"), key="k-again").scores


def test_too_many_requests_says_when_to_come_back_and_until_then_nobody_does(
    program: Program, behave: Callable[..., None]
) -> None:
    behave(rate_limit_rate=1, retry_after_seconds=7)
    api = asking(program.url)
    with pytest.raises(ModerationError) as raised:
        api.moderate(Content(text="tea"), key="k-429")
    assert (raised.value.reason, raised.value.retryable) == ("rate_limited", True)
    assert raised.value.retry_after_seconds == 7
    behave()
    with pytest.raises(ModerationError) as raised:
        api.moderate(Content(text="tea"), key="k-429")
    assert raised.value.reason == "breaker_open"
    assert 5 < (raised.value.retry_after_seconds or 0) < 9


def test_after_failures_in_a_row_it_is_left_alone(program: Program, behave: Callable[..., None]) -> None:
    behave(error_rate=1)
    api = asking(program.url)
    asked = program.metric("lab_upstream_requests_total", status="500")
    reasons = []
    for _ in range(6):
        with pytest.raises(ModerationError) as raised:
            api.moderate(Content(text="tea"), key="k-breaker")
        reasons.append(raised.value.reason)
    assert reasons == ["server_error"] * 3 + ["breaker_open"] * 3
    assert program.metric("lab_upstream_requests_total", status="500") == asked + 3


def test_one_that_is_not_there(program: Program) -> None:
    assert failure(f"http://127.0.0.1:{free_port()}").reason == "unreachable"


def test_a_drip_ends_at_the_deadline_of_the_whole_call() -> None:
    answer = http_answer(json.dumps(GOOD).encode(), content_type="application/json")
    with canned(answer, drip_seconds=0.2) as server:
        started = time.monotonic()
        assert failure(server.url).reason == "timeout"
        assert time.monotonic() - started < TIMEOUT_SECONDS + 0.5


def changed(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def scored(**scores: Any) -> bytes:
    return changed(scores={**dict.fromkeys(CATEGORIES, 0.1), **scores})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        changed(flagged="no"),
        changed(flagged=0),
        changed(id=""),
        changed(scores={}),
        changed(scores={"hate": 0.1}),
        scored(hate=None),
        scored(hate="0.1"),
        scored(hate=True),
        scored(hate=-0.1),
        scored(hate=1.1),
        scored(hate=float("nan")),
        scored(hate=float("inf")),
        scored(**{f"x{number}": 0.1 for number in range(100)}),
        scored(**{"a\nb": 0.1}),
        b'{"padding": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_an_answer_that_leaves_something_open_is_none(body: bytes) -> None:
    with canned(http_answer(body, content_type="application/json")) as server:
        error = failure(server.url)
    assert (error.reason, error.retryable) == ("invalid_response", True)


@pytest.mark.parametrize(
    ("answer", "reason", "retryable"),
    [
        (http_answer(json.dumps(GOOD).encode(), content_type="text/plain"), "invalid_response", True),
        (
            http_answer(b"\x1f\x8b", content_type="application/json", content_encoding="gzip"),
            "invalid_response",
            True,
        ),
        (http_answer(b"", status="302 Found", location="http://127.0.0.1:1/"), "client_error", False),
        (http_answer(b"", status="400 Bad Request"), "client_error", False),
        (http_answer(b"", status="401 Unauthorized"), "client_error", False),
        (http_answer(b"", status="404 Not Found"), "client_error", False),
        (http_answer(b"", status="408 Request Timeout"), "server_error", True),
        (http_answer(b"", status="503 Service Unavailable", retry_after="30"), "server_error", True),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
            "invalid_response",
            True,
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "invalid_response", True),
        (b"", "invalid_response", True),
    ],
)
def test_every_other_answer_has_its_end(answer: bytes, reason: str, *, retryable: bool) -> None:
    with canned(answer) as server:
        error = failure(server.url)
    assert (error.reason, error.retryable) == (reason, retryable)
    if b"Retry-After" in answer.title():
        assert error.retry_after_seconds == 30


def test_a_refused_target_is_noticed_before_the_first_avatar(program: Program) -> None:
    with pytest.raises(ValueError, match="DCS_AVATARS_MODERATION_URL"):
        asking(program.url, sources_allow=[])


def test_the_token_is_sent(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0p-secret\n")
    with canned(http_answer(json.dumps(GOOD).encode(), content_type="application/json")) as server:
        asking(server.url, avatars_moderation_token_file=token).moderate(Content(text="tea"), key="k-token")
        assert b"authorization: bearer t0p-secret\r\n" in server.request.lower()
        assert b"idempotency-key: k-token\r\n" in server.request.lower()
