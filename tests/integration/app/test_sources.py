"""What sources say of calls that end badly, each against a real server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from app.net.guard import Guard
from app.sources import SourceError
from app.sources.api import ApiConfig, ApiLimits, ApiSource, Endpoint
from app.sources.database import DatabaseConfig, DatabaseSource
from tests.support.databases import target
from tests.support.postgres import PostgresServer
from tests.support.upstream import DRIP_SECONDS, TOTAL, Mood, Upstream


def api_source(url: str, collect_seconds_max: float = 10, bytes_max: int = 10**6) -> ApiSource:
    return ApiSource({"evidence": Endpoint(url)}, Guard([url]), ApiLimits(2, collect_seconds_max, bytes_max))


@pytest.mark.parametrize(
    "query_deadline_seconds", [0.6, 5.0], ids=["ended by statement_timeout", "ended by lock_timeout"]
)
def test_a_query_that_the_server_ends_for_its_time_is_a_timeout(
    postgres: PostgresServer, query_deadline_seconds: float
) -> None:
    source = DatabaseSource(
        {"acme": target(postgres.port, "acme", "reader")},
        guard=Guard([f"postgresql://127.0.0.1:{postgres.port}"]),
        application_name="test",
        connect_timeout_seconds=2,
        query_deadline_seconds=query_deadline_seconds,
    )
    with postgres.connection("acme") as blocker, blocker.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE findings")
        started = time.monotonic()
        with pytest.raises(SourceError) as ended:
            source.collect(DatabaseConfig(database="acme", query="open_findings"))
        cursor.execute("ROLLBACK")
    assert time.monotonic() - started < query_deadline_seconds
    assert (ended.value.reason, ended.value.outcome, ended.value.retryable) == ("timeout", "timeout", True)


@pytest.mark.parametrize("mood", [Mood.DRIP, Mood.DRIP_HEADERS])
def test_an_upstream_that_drips_does_not_hold_a_job_beyond_its_time(upstream: Upstream, mood: Mood) -> None:
    # Each byte comes well within the time-out of one read.
    source = api_source(upstream.url, collect_seconds_max=0.5)
    upstream.mood = mood
    started = time.monotonic()
    try:
        with pytest.raises(SourceError) as ended:
            source.collect(ApiConfig(endpoint="evidence", resource="controls"))
    finally:
        upstream.mood = Mood.GOOD
    assert time.monotonic() - started < 5
    assert (ended.value.reason, ended.value.outcome, ended.value.retryable) == ("timeout", "timeout", True)


def test_a_handshake_that_drips_is_over_in_time_as_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            link, _ = listener.accept()
            with link, contextlib.suppress(OSError):
                link.sendall(b"\x16\x03\x03\x3f\xff")  # a record of 16 KiB, to come
                while True:
                    link.sendall(b"\x02")
                    time.sleep(DRIP_SECONDS)

        threading.Thread(target=drip, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        source = ApiSource({"evidence": Endpoint(url)}, Guard([url]), ApiLimits(30, 0.5))
        started = time.monotonic()
        with pytest.raises(SourceError) as ended:
            source.collect(ApiConfig(endpoint="evidence", resource="controls"))
    assert time.monotonic() - started < 5
    assert ended.value.reason == "timeout"


def test_all_pages_of_a_job_share_one_limit_of_bytes(upstream: Upstream) -> None:
    config = ApiConfig(endpoint="evidence", resource="controls", page_size=10)
    whole = api_source(upstream.url).collect(config)
    assert len(whole) == TOTAL
    seen = upstream.requests_seen
    # Enough for each page by itself, not for all three.
    source = api_source(upstream.url, bytes_max=300)
    with pytest.raises(SourceError) as ended:
        source.collect(config)
    assert (ended.value.reason, ended.value.retryable) == ("too_much", False)
    assert upstream.requests_seen > seen + 1
