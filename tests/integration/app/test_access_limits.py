"""Rates that several processes count together, and what holds when they cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count

import httpx
import pytest

from app.access.keys import Key
from app.access.principal import Scope
from app.access.repository import KeySpec
from tests.support.access import admit, key_of
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess
from tests.support.tcp import PathState, TcpForwarder
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

ME = "/api/v1/access/me"
_numbers = count(1)


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[ValkeyServer]:
    with closing(ValkeyServer()) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def settings(service_settings: dict[str, str], own_valkey: ValkeyServer) -> dict[str, str]:
    return service_settings | {
        "DCS_REDIS_URL": own_valkey.url,
        "DCS_ACCESS_TRUSTED_PROXIES": '["127.0.0.2/32"]',
        # Patient, so that a busy machine is not taken for one without Redis.
        "DCS_ACCESS_REDIS_BUDGET_SECONDS": "1",
    }


@pytest.fixture(scope="module")
def apis(settings: dict[str, str]) -> Iterator[list[ServiceProcess]]:
    with (
        closing(ServiceProcess("app.main", settings | {"DCS_INSTANCE": "api-1"})) as first,
        closing(ServiceProcess("app.main", settings | {"DCS_INSTANCE": "api-2"})) as second,
    ):
        for process in (first, second):
            process.wait_until_live()
        for process in (first, second):
            eventually(
                lambda process=process: process.metric("dcs_rate_limit_degraded") == 0,  # type: ignore[misc]
                within_seconds=10,
                what="it counts in Redis",
            )
        yield [first, second]


@pytest.fixture
def key(postgres: PostgresServer, database_name: str) -> Key:
    """A key of the test's own, with the service's default limits."""
    return new_key(postgres, database_name)


def new_key(
    postgres: PostgresServer, database_name: str, per_minute: int | None = None, burst: int | None = None
) -> Key:
    key = key_of(f"limits {next(_numbers)}")
    spec = KeySpec(frozenset(Scope), rate_limit_per_minute=per_minute, burst=burst)
    admit(postgres.port, database_name, "acme", key, spec)
    return key


def ask(api: ServiceProcess, key: Key | None, **headers: str) -> httpx.Response:
    sent = {**({"X-API-Key": key.text} if key else {}), **headers}
    return api.get(ME, client=None, headers=sent)


def at_once(apis: list[ServiceProcess], key: Key | None, requests: int) -> Counter[int]:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda number: ask(apis[number % len(apis)], key).status_code, range(requests))
        return Counter(answers)


def test_two_processes_let_through_one_burst_together(
    postgres: PostgresServer, database_name: str, apis: list[ServiceProcess]
) -> None:
    # One more comes in a minute: how long the burst takes does not matter.
    key = new_key(postgres, database_name, per_minute=1, burst=20)
    assert at_once(apis, key, 50) == {200: 20, 429: 30}


def test_the_default_is_a_hundred_a_minute_and_every_answer_says_what_is_left(
    apis: list[ServiceProcess], key: Key
) -> None:
    answer = ask(apis[0], key)
    assert answer.headers["ratelimit-limit"] == "100"
    assert answer.headers["ratelimit-remaining"] == "19"
    assert int(answer.headers["ratelimit-reset"]) >= 1


def test_who_asks_too_often_is_told_when_to_come_back(
    postgres: PostgresServer, database_name: str, apis: list[ServiceProcess]
) -> None:
    key = new_key(postgres, database_name, per_minute=6, burst=1)
    assert ask(apis[0], key).status_code == 200
    refused = ask(apis[1], key)
    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:dcs:problem:rate-limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert refused.headers["ratelimit-remaining"] == "0"


def test_one_caller_s_rate_is_no_other_s(
    postgres: PostgresServer, database_name: str, apis: list[ServiceProcess], key: Key
) -> None:
    greedy = new_key(postgres, database_name, per_minute=1, burst=1)
    assert at_once(apis, greedy, 5) == {200: 1, 429: 4}
    assert ask(apis[0], key).status_code == 200


def test_what_a_caller_writes_of_its_address_gives_it_no_other_rate(apis: list[ServiceProcess]) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(
            pool.map(
                lambda n: ask(apis[n % 2], None, **{"X-Forwarded-For": f"198.51.100.{n}"}).status_code,
                range(60),
            )
        )
    assert statuses[429] >= 25, statuses  # 20 at once, and a few more while it lasts
    assert set(statuses) == {401, 429}


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics"])
def test_what_watches_the_service_is_never_refused(apis: list[ServiceProcess], path: str) -> None:
    statuses = {httpx.get(f"{apis[0].url}{path}").status_code for _ in range(150)}
    assert statuses == {200}


def test_a_flushed_redis_gives_everybody_their_burst_again(
    postgres: PostgresServer, database_name: str, apis: list[ServiceProcess], own_valkey: ValkeyServer
) -> None:
    key = new_key(postgres, database_name, per_minute=1, burst=3)
    assert at_once(apis, key, 6) == {200: 3, 429: 3}
    import redis  # noqa: PLC0415

    with closing(redis.Redis.from_url(own_valkey.url)) as client:
        client.flushall()
    assert at_once(apis, key, 6) == {200: 3, 429: 3}  # the script is loaded again by itself


def test_without_redis_each_lets_through_its_share_and_no_token_is_given(
    postgres: PostgresServer, database_name: str, apis: list[ServiceProcess], own_valkey: ValkeyServer
) -> None:
    own_valkey.stop()
    try:
        for api in apis:
            eventually(
                lambda api=api: api.metric("dcs_rate_limit_degraded") == 1,  # type: ignore[misc]
                within_seconds=15,
                what="it has noticed",
            )
        # Of a burst of 20 each of two processes lets 10 through: never all, never none, and no 5xx.
        key = new_key(postgres, database_name, per_minute=2, burst=20)
        assert at_once(apis, key, 50) == {200: 20, 429: 30}
        operator = new_key(postgres, database_name)
        token = apis[0].post("/api/v1/access/token", client=None, headers={"X-API-Key": operator.text})
        assert token.status_code == 503
        assert token.headers["retry-after"]
    finally:
        own_valkey.start()
    for api in apis:
        eventually(
            lambda api=api: api.metric("dcs_rate_limit_degraded") == 0,  # type: ignore[misc]
            within_seconds=15,
            what="it counts in Redis again",
        )
    key = new_key(postgres, database_name, per_minute=1, burst=4)
    assert at_once(apis, key, 10) == {200: 4, 429: 6}


def test_a_redis_that_swallows_everything_costs_a_moment(
    settings: dict[str, str], postgres: PostgresServer, database_name: str, own_valkey: ValkeyServer
) -> None:
    with TcpForwarder(("127.0.0.1", own_valkey.port)) as hole:
        hole.set_state(PathState.BLACK_HOLE)
        swallowed = settings | {
            "DCS_REDIS_URL": f"redis://127.0.0.1:{hole.port}/0",
            "DCS_ACCESS_REDIS_BUDGET_SECONDS": "0.1",
        }
        with closing(ServiceProcess("app.main", swallowed)) as api:
            api.wait_until_live()
            key = new_key(postgres, database_name, per_minute=2, burst=6)
            assert at_once([api], key, 20) == {200: 3, 429: 17}


def test_a_redis_that_is_not_there_at_the_start_is_no_reason_not_to_serve(
    settings: dict[str, str], postgres: PostgresServer, database_name: str
) -> None:
    nowhere = settings | {"DCS_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with closing(ServiceProcess("app.main", nowhere)) as api:
        api.wait_until_live()
        key = new_key(postgres, database_name, per_minute=2, burst=4)
        assert at_once([api], key, 8) == {200: 2, 429: 6}
