"""Limits, counted by two API processes together, and alone when their Redis is gone."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx
import pytest
import redis

from app.access.keys import Key
from app.access.principal import Scope
from app.access.repository import KeySpec
from tests.support.access import admit
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess
from tests.support.tcp import PathState, TcpForwarder
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

ME = "/api/v1/access/me"
BURST = 20
DEFAULT_INTERVAL_SECONDS = 0.6  # 100 a minute
PROXY = "127.0.0.77"
_octets = itertools.count(100)

MakeKey = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def path(valkey: ValkeyServer) -> Iterator[TcpForwarder]:
    """The way to Redis."""
    with TcpForwarder(("127.0.0.1", valkey.port)) as forwarder:
        yield forwarder


@pytest.fixture(scope="module")
def apis(
    service_settings: dict[str, str], path: TcpForwarder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ServiceProcess]]:
    secret = tmp_path_factory.mktemp("tokens") / "one"
    secret.write_text("s" * 40)
    settings = service_settings | {
        "DCS_REDIS_URL": f"redis://127.0.0.1:{path.port}/0",
        # On a busy machine a process that need not count alone does not.
        "DCS_ACCESS_REDIS_BUDGET_SECONDS": "1.0",
        # Slow enough for every number to be exact, however slow this machine is.
        "DCS_ACCESS_ANONYMOUS_RATE_LIMIT_PER_MINUTE": "1",
        "DCS_ACCESS_FAILURES_PER_MINUTE": "7",
        "DCS_ACCESS_TRUSTED_PROXIES": json.dumps([f"{PROXY}/32", "10.0.0.0/8"]),
        "DCS_ACCESS_TOKEN_KEYS": json.dumps({"one": str(secret)}),
        "DCS_ACCESS_TOKEN_KEY": "one",
    }
    with ExitStack() as stack:
        started = [
            stack.enter_context(closing(ServiceProcess("app.main", {**settings, "DCS_INSTANCE": name})))
            for name in ("api-1", "api-2")
        ]
        for api in started:
            api.wait_until_live()
        yield started


@pytest.fixture(autouse=True)
def _whole_again(apis: list[ServiceProcess], path: TcpForwarder) -> Iterator[None]:
    yield
    path.set_state(PathState.PASS)
    eventually(lambda: not degraded(apis), within_seconds=10, what="both count together again")


@pytest.fixture
def make_key(postgres: PostgresServer, database_name: str) -> MakeKey:
    """Return a function that makes a key with limits and returns what to send."""

    def make(per_minute: int | None = None, burst: int | None = None) -> dict[str, str]:
        key = Key.new()
        spec = KeySpec(frozenset(Scope), rate_limit_per_minute=per_minute, burst=burst)
        admit(postgres.port, database_name, "limited", key, spec)
        return {"X-API-Key": key.text}

    return make


@pytest.fixture
def address() -> str:
    """An address of this machine that nobody else has called from."""
    return f"127.0.0.{next(_octets)}"


def degraded(apis: Sequence[ServiceProcess]) -> bool:
    values = {api.metric("dcs_rate_limit_degraded") for api in apis}
    assert values <= {0.0, 1.0}
    return 1.0 in values


def calls(
    apis: Sequence[ServiceProcess],
    count: int,
    headers: dict[str, str],
    *,
    path: str = ME,
    method: str = "GET",
    address: str | None = None,
) -> list[httpx.Response]:
    """Call the processes in turn, several times at once."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                httpx.Client(
                    base_url=api.url, transport=httpx.HTTPTransport(local_address=address), timeout=15
                )
            )
            for api in apis
        ]
        threads = stack.enter_context(ThreadPoolExecutor(6))
        return list(
            threads.map(
                lambda n: clients[n % len(clients)].request(method, path, headers=headers), range(count)
            )
        )


def statuses(answers: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def test_a_burst_is_counted_to_the_request_by_two_processes(
    apis: list[ServiceProcess], make_key: MakeKey
) -> None:
    answers = calls(apis, 60, make_key(per_minute=1, burst=BURST))
    assert statuses(answers) == {200: BURST, 429: 40}
    left = sorted(int(answer.headers["ratelimit-remaining"]) for answer in answers if answer.is_success)
    assert left == list(range(BURST)), "each of them took one, whoever answered"


def test_a_key_without_limits_of_its_own_has_the_default(
    apis: list[ServiceProcess], make_key: MakeKey
) -> None:
    headers = make_key()
    began = time.monotonic()
    allowed = 0
    while time.monotonic() - began < 2.5:
        answers = calls(apis, 24, headers)
        allowed += statuses(answers)[200]
        assert statuses(answers).keys() <= {200, 429}
    took = time.monotonic() - began
    assert allowed <= BURST + took / DEFAULT_INTERVAL_SECONDS + 1
    assert allowed >= BURST + 2, "who keeps to the rate is let in again"
    assert answers[0].headers["ratelimit-limit"] == "100"


def test_limits_of_a_key_override_the_default(apis: list[ServiceProcess], make_key: MakeKey) -> None:
    assert statuses(calls(apis, 40, make_key(per_minute=1, burst=3)))[200] == 3
    # A rate below the default burst is the burst, too.
    assert statuses(calls(apis, 40, make_key(per_minute=4)))[200] == 4
    assert statuses(calls(apis, 90, make_key(per_minute=100_000, burst=90))) == {200: 90}


def test_keys_of_a_client_are_counted_apart(apis: list[ServiceProcess], make_key: MakeKey) -> None:
    one, other = make_key(per_minute=1, burst=2), make_key(per_minute=1, burst=2)
    assert statuses(calls(apis, 6, one)) == {200: 2, 429: 4}
    assert statuses(calls(apis, 6, other)) == {200: 2, 429: 4}


def test_the_refusal_says_when_to_come_back(apis: list[ServiceProcess], make_key: MakeKey) -> None:
    headers = make_key(per_minute=60, burst=2)
    refused = next(answer for answer in calls(apis, 12, headers) if answer.status_code == 429)
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "urn:dcs:problem:rate-limited"
    told = {name: refused.headers[name] for name in refused.headers if "rate" in name or "retry" in name}
    assert told == {
        "retry-after": "1",
        "ratelimit-limit": "60",
        "ratelimit-remaining": "0",
        "ratelimit-reset": "2",
        "ratelimit-policy": "60;w=60;burst=2",
    }
    # Who waits as long is let in.
    time.sleep(float(refused.headers["retry-after"]) + 0.05)
    [answer] = calls(apis[:1], 1, headers)
    assert answer.status_code == 200
    assert answer.headers["ratelimit-limit"] == "60"
    assert int(answer.headers["ratelimit-reset"]) in {1, 2}


def test_callers_without_a_key_are_counted_by_address(apis: list[ServiceProcess], address: str) -> None:
    assert statuses(calls(apis, 40, {}, address=address)) == {401: BURST, 429: 20}
    other = f"127.0.1.{address.rsplit('.', 1)[1]}"
    assert statuses(calls(apis, 10, {}, address=other)) == {401: 10}
    # The document needs no key, and is counted with them.
    assert statuses(calls(apis, 4, {}, path="/openapi.json", address=address)) == {429: 4}


def test_what_watches_the_service_is_never_refused(apis: list[ServiceProcess], address: str) -> None:
    assert statuses(calls(apis, 30, {}, address=address))[429] == 10
    for path in ("/health", "/health/live", "/metrics"):
        answers = calls(apis, 40, {}, path=path, address=address)
        assert statuses(answers) == {200: 40}, path
        assert "ratelimit-limit" not in answers[0].headers


def test_a_stranger_cannot_choose_its_address(apis: list[ServiceProcess], address: str) -> None:
    answers = []
    for n in range(10):
        claims = {"X-Forwarded-For": f"203.0.113.{n}", "X-Real-IP": f"203.0.113.{n}", "Forwarded": f"for={n}"}
        answers += calls(apis, 4, claims, address=address)
    assert statuses(answers) == {401: BURST, 429: 20}


def test_through_a_proxy_the_nearest_that_is_no_proxy_counts(
    apis: list[ServiceProcess], address: str
) -> None:
    real = address.replace("127.0.0", "198.51.100")
    answers = []
    for n in range(10):
        # What the caller wrote itself is further away than what the proxies wrote.
        chain = f"203.0.113.{n}, {real}, 10.0.0.{n}"
        answers += calls(apis, 4, {"X-Forwarded-For": chain}, address=PROXY)
    assert statuses(answers) == {401: BURST, 429: 20}
    other = calls(apis, 4, {"X-Forwarded-For": real.replace("198.51", "192.0")}, address=PROXY)
    assert statuses(other) == {401: 4}


def test_who_guesses_keys_is_stopped_and_who_has_one_is_not(
    apis: list[ServiceProcess], address: str, make_key: MakeKey
) -> None:
    good = make_key(per_minute=60_000, burst=1_000)
    assert statuses(calls(apis, 2, good, address=address)) == {200: 2}
    lookups = sum(api.metric("dcs_access_key_lookups_total", outcome="unknown") for api in apis)
    answers = []
    for _ in range(5):  # another key each time
        answers += calls(apis, 6, {"X-API-Key": Key.new().text}, address=address)
    # Seven at once, and one more every 8.6 s.
    assert 7 <= statuses(answers)[401] <= 11
    assert statuses(answers).keys() == {401, 429}
    asked = sum(api.metric("dcs_access_key_lookups_total", outcome="unknown") for api in apis) - lookups
    assert asked <= 12, "the database is not asked for what an address makes up"
    assert statuses(calls(apis, 10, good, address=address)) == {200: 10}


@pytest.mark.parametrize("state", [PathState.REFUSE, PathState.BLACK_HOLE, PathState.CLOSE])
def test_without_redis_each_process_lets_its_share_through(
    apis: list[ServiceProcess], path: TcpForwarder, make_key: MakeKey, address: str, state: PathState
) -> None:
    headers = make_key(per_minute=2, burst=10)
    tokens = make_key(per_minute=60_000, burst=1_000)
    path.set_state(state)
    answers = calls(apis, 60, headers)
    # Half of the burst in each, counted apart: a limit still, and nobody is refused for what is down here.
    assert statuses(answers) == {200: 10, 429: 50}
    eventually(lambda: degraded(apis), within_seconds=5, what="it is told")
    for api in apis:
        assert api.metric("dcs_rate_limit_local_total") > 0
    assert statuses(calls(apis, 60, {}, address=address)) == {401: BURST, 429: 40}
    # Where counting together is the point, nobody gets anything.
    closed = calls(apis, 4, tokens, path="/api/v1/access/token", method="POST")
    assert statuses(closed) == {503: 4}
    assert closed[0].json()["type"] == "urn:dcs:problem:limits-unavailable"
    assert int(closed[0].headers["retry-after"]) > 0

    path.set_state(PathState.PASS)
    eventually(lambda: not degraded(apis), within_seconds=10, what="both count together again")
    assert statuses(calls(apis, 40, make_key(per_minute=1, burst=10))) == {200: 10, 429: 30}
    assert statuses(calls(apis, 4, tokens, path="/api/v1/access/token", method="POST")) == {200: 4}


def test_a_black_hole_costs_a_request_its_budget_at_most(
    apis: list[ServiceProcess], path: TcpForwarder, make_key: MakeKey
) -> None:
    headers = make_key(per_minute=60_000, burst=60_000)
    path.set_state(PathState.BLACK_HOLE)
    waits = sorted(answer.elapsed.total_seconds() for answer in calls(apis, 100, headers))
    # Those that were on their way when it opened waited the 1 s that is set here; the others not at all.
    assert waits[50] < 0.5
    assert waits[-1] < 4


def test_a_redis_that_forgets_gives_everybody_a_burst_and_no_error(
    apis: list[ServiceProcess], valkey: ValkeyServer, make_key: MakeKey
) -> None:
    headers = make_key(per_minute=1, burst=10)
    assert statuses(calls(apis, 20, headers)) == {200: 10, 429: 10}
    with redis.Redis(port=valkey.port) as client:
        client.flushall()
        client.script_flush()
    assert statuses(calls(apis, 20, headers)) == {200: 10, 429: 10}
    assert not degraded(apis)


def test_a_redis_that_takes_no_writes_is_as_good_as_none(
    apis: list[ServiceProcess], valkey: ValkeyServer, make_key: MakeKey
) -> None:
    headers = make_key(per_minute=2, burst=10)
    with redis.Redis(port=valkey.port) as client:
        client.config_set("maxmemory", "1")
        try:
            assert statuses(calls(apis, 40, headers)) == {200: 10, 429: 30}
            assert degraded(apis[:1])
            assert degraded(apis[1:])
            closed = calls(apis, 2, make_key(), path="/api/v1/access/token", method="POST")
            assert statuses(closed) == {503: 2}
        finally:
            client.config_set("maxmemory", "0")
    # The next request of each finds that it does again.
    assert statuses(calls(apis, 4, make_key(per_minute=1, burst=4))) == {200: 4}
    assert not degraded(apis)


def test_a_process_starts_without_redis(service_settings: dict[str, str], make_key: MakeKey) -> None:
    with TcpForwarder(("127.0.0.1", 1)) as nowhere:
        nowhere.set_state(PathState.BLACK_HOLE)
        settings = service_settings | {"DCS_REDIS_URL": f"redis://127.0.0.1:{nowhere.port}/0"}
        with closing(ServiceProcess("app.main", settings)) as api:
            api.wait_until_live()
            assert degraded([api])
            assert statuses(calls([api], 20, make_key(per_minute=2, burst=10))) == {200: 5, 429: 15}
