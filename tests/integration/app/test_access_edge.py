"""What stands before every route: revocation, allowlists, signatures, sizes, headers of answers."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access import signing
from app.access.keys import Key, Peppers
from app.access.principal import Scope
from app.access.repository import KeyRepository, KeySpec
from tests.support.access import headers_of
from tests.support.databases import open_database, target
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess
from tests.support.waiting import eventually

ME, KEYS, TRIGGER = "/api/v1/access/me", "/api/v1/access/keys", "/api/v1/jobs/trigger"
REVOKED_SECONDS_MAX = 5.0
ORIGIN = "https://app.example.org"
_numbers = count(1)


@pytest.fixture(scope="module")
def pepper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pepper") / "pepper"
    path.write_text("a pepper for the edge\n")
    return path


@pytest.fixture(scope="module")
def apis(service_settings: dict[str, str], pepper: Path) -> Iterator[list[ServiceProcess]]:
    settings = service_settings | {
        "DCS_ACCESS_PEPPER_FILE": str(pepper),
        "DCS_ACCESS_CORS_ORIGINS": json.dumps([ORIGIN]),
        "DCS_ACCESS_REDIS_BUDGET_SECONDS": "1",
        "DCS_ACCESS_ANONYMOUS_RATE_LIMIT_PER_MINUTE": "100000",
        "DCS_ACCESS_FAILURES_PER_MINUTE": "100000",
        "DCS_ACCESS_BURST": "1000",
    }
    with (
        closing(ServiceProcess("app.main", settings | {"DCS_INSTANCE": "api-1"})) as first,
        closing(ServiceProcess("app.main", settings | {"DCS_INSTANCE": "api-2"})) as second,
    ):
        first.wait_until_live()
        second.wait_until_live()
        yield [first, second]


class Client:
    """A client of the test's own, with one key."""

    def __init__(self, postgres: PostgresServer, database: str, pepper: Path, **spec: Any) -> None:
        self.name = f"edge-{next(_numbers)}"
        self.key = Key.new()
        stored = Peppers.read(pepper).hash(self.key)
        self.signing_secret = Peppers.read(pepper).signing_secret(self.key.key_id, stored)
        limits = {"rate_limit_per_minute": 100_000, "burst": 100_000}
        wanted = KeySpec(**{"scopes": frozenset(Scope), **limits, **spec})
        with closing(open_database(target(postgres.port, database))) as opened, opened.transaction() as tx:
            repository = KeyRepository(tx)
            repository.create_client(self.name)
            repository.insert(self.name, self.key.key_id, stored, wanted)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key.text}


@pytest.fixture
def client(postgres: PostgresServer, database_name: str, pepper: Path) -> Client:
    return Client(postgres, database_name, pepper)


def get(api: ServiceProcess, path: str, headers: dict[str, str]) -> httpx.Response:
    return api.get(path, client=None, headers=headers)


# ---- keys ----------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_by_every_process_within_five_seconds(
    apis: list[ServiceProcess], client: Client
) -> None:
    assert [get(api, ME, client.headers).status_code for api in apis] == [200, 200]
    second = apis[0].post(f"{KEYS}/{client.key.key_id}/rotate", client=None, headers=client.headers).json()
    new = {"X-API-Key": second["secret"]}
    revoked = apis[0].request("DELETE", f"{KEYS}/{client.key.key_id}", client=None, headers=new)
    assert revoked.status_code == 204
    began = time.monotonic()

    def refused() -> bool:
        return all(get(api, ME, client.headers).status_code == 401 for api in apis)

    eventually(refused, within_seconds=REVOKED_SECONDS_MAX, what="both refuse the key")
    assert time.monotonic() - began < REVOKED_SECONDS_MAX
    answer = get(apis[1], ME, client.headers)
    assert "revoked" in answer.json()["detail"]
    assert answer.headers["www-authenticate"].startswith("ApiKey ")
    assert get(apis[1], ME, new).status_code == 200


def test_two_keys_are_active_and_no_third(apis: list[ServiceProcess], client: Client) -> None:
    body = {"scopes": ["jobs:read"]}
    made = [apis[0].post(KEYS, client=None, headers=client.headers, json=body) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 409]
    assert made[1].json()["type"] == "urn:dcs:problem:key-limit"
    listed = get(apis[0], KEYS, client.headers)
    assert len(listed.json()["keys"]) == 2
    assert made[0].json()["secret"] not in listed.text


def test_two_who_make_a_key_at_once_count_each_other(
    apis: list[ServiceProcess], client: Client, postgres: PostgresServer, database_name: str
) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    second = Key.new()

    def create() -> httpx.Response:
        return apis[0].post(KEYS, client=None, headers=client.headers, json={"scopes": ["jobs:read"]})

    with (
        closing(open_database(target(postgres.port, database_name))) as opened,
        ThreadPoolExecutor(1) as thread,
    ):
        with opened.transaction() as connection:
            repository = KeyRepository(connection)
            assert repository.lock_client(client.name)
            assert repository.count_active(client.name) == 1
            repository.insert(
                client.name, second.key_id, Peppers().hash(second), KeySpec(frozenset({Scope.ADMIN}))
            )
            answer = thread.submit(create)
            eventually(lambda: postgres.rows(waiting, database_name), within_seconds=5, what="one waits")
        assert answer.result().status_code == 409


def test_a_key_gives_away_no_more_than_it_has(
    apis: list[ServiceProcess], postgres: PostgresServer, database_name: str, pepper: Path
) -> None:
    admin = Client(postgres, database_name, pepper, scopes=frozenset({Scope.ADMIN}))
    for path, body in (
        (KEYS, {"scopes": ["jobs:write"]}),
        ("/api/v1/access/token", {"scopes": ["jobs:write"]}),
    ):
        answer = apis[0].post(path, client=None, headers=admin.headers, json=body)
        assert answer.status_code == 403, answer.text


def test_a_dump_of_the_database_holds_no_key_that_opens_anything(
    apis: list[ServiceProcess], client: Client, postgres: PostgresServer, database_name: str
) -> None:
    assert get(apis[0], ME, client.headers).status_code == 200
    dump = repr(postgres.rows("SELECT * FROM api_keys", database_name))
    assert client.key.key_id in dump
    assert client.key.secret not in dump
    assert client.signing_secret not in dump


@pytest.mark.parametrize(
    "sent",
    ["nonsense", "dcs_aaaaaaaaaaaaaaaa_" + "0" * 64 + "_00000000", Key.new().text, "", "x" * 5000, "é"],
    ids=["nonsense", "wrong crc", "unknown", "empty", "long", "not ascii"],
)
def test_what_is_no_key_is_refused_alike(apis: list[ServiceProcess], sent: str) -> None:
    answer = httpx.get(f"{apis[0].url}{ME}", headers={b"X-API-Key": sent.encode()})
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:dcs:problem:credential-invalid"
    assert "x" * 100 not in answer.text


def test_a_key_and_a_token_at_once_are_refused(apis: list[ServiceProcess], client: Client) -> None:
    assert get(apis[0], ME, client.headers | {"Authorization": "Bearer x"}).status_code == 401


def test_a_key_is_good_only_from_where_its_owner_says(
    apis: list[ServiceProcess], postgres: PostgresServer, database_name: str, pepper: Path
) -> None:
    near = Client(postgres, database_name, pepper, ip_allowlist=["127.0.0.0/8"])
    far = Client(postgres, database_name, pepper, ip_allowlist=["198.51.100.0/24"])
    assert get(apis[0], ME, near.headers).status_code == 200
    for forged in ({}, {"X-Forwarded-For": "198.51.100.7"}):
        assert get(apis[0], ME, far.headers | forged).status_code == 403


# ---- signatures ----------------------------------------------------------------------------


def signed(client: Client, method: str, target: str, body: bytes, **changes: str) -> dict[str, str]:
    timestamp = changes.get("timestamp", str(int(time.time())))
    nonce = changes.get("nonce", secrets.token_urlsafe(16))
    signature = signing.sign(
        client.signing_secret, method=method, target=target, body=body, timestamp=timestamp, nonce=nonce
    )
    sent = {"X-Timestamp": timestamp, "X-Nonce": nonce, "X-Signature": f"v1={signature}"}
    return {**client.headers, "Content-Type": "application/json", **sent}


def test_a_key_that_demands_signatures_takes_each_once(
    apis: list[ServiceProcess], postgres: PostgresServer, database_name: str, pepper: Path
) -> None:
    client = Client(postgres, database_name, pepper, signing_required=True)
    body = json.dumps({"source_type": "file", "config": {"path": "acme/assets.csv"}}).encode()

    def send(headers: dict[str, str], *, to: int = 0, content: bytes = body, path: str = TRIGGER) -> int:
        return apis[to].post(path, client=None, headers=headers, content=content).status_code

    good = signed(client, "POST", TRIGGER, body)
    assert send(good) == 202
    assert send(good) == 401  # the same nonce
    assert send(good, to=1) == 401  # also for the other process
    assert send(client.headers) == 401
    assert send(signed(client, "POST", TRIGGER, body), content=body + b" ") == 401
    assert send(signed(client, "POST", TRIGGER, body), path=f"{TRIGGER}?x=1") == 401
    assert send(signed(client, "PUT", TRIGGER, body)) == 401
    assert send(signed(client, "POST", TRIGGER, body, timestamp=str(int(time.time()) - 400))) == 401
    assert send(signed(client, "POST", TRIGGER, body), to=1) == 202


# ---- sizes ---------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(
    apis: list[ServiceProcess], client: Client
) -> None:
    large = b'{"x": "' + b"a" * 1_100_000 + b'"}'

    def in_chunks() -> Iterator[bytes]:
        for start in range(0, len(large), 50_000):
            yield large[start : start + 50_000]

    for content in (large, in_chunks()):
        headers = client.headers | {"Content-Type": "application/json"}
        answer = apis[0].post(TRIGGER, client=None, headers=headers, content=content)
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:dcs:problem:body-too-large"
    assert get(apis[0], ME, client.headers).status_code == 200


def test_urls_and_headers_have_limits(apis: list[ServiceProcess], client: Client) -> None:
    assert get(apis[0], f"{ME}?x={'a' * 5000}", client.headers).status_code == 414
    assert get(apis[0], ME, client.headers | {"X-Filling": "a" * 17_000}).status_code == 431


# ---- headers of answers --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"), [(ME, 200), ("/api/v1/nowhere", 404), ("/health", 200), ("/api/v1/jobs?limit=0", 422)]
)
def test_every_answer_tells_browsers_what_not_to_do(
    apis: list[ServiceProcess], client: Client, path: str, status: int
) -> None:
    answer = get(apis[0], path, client.headers)
    assert answer.status_code == status
    check_security_headers(answer)
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers  # it came without TLS


def check_security_headers(answer: httpx.Response) -> None:
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


def test_an_error_of_ours_has_them_too(
    service_settings: dict[str, str], postgres: PostgresServer, database_name: str
) -> None:
    postgres.execute("GRANT SELECT ON api_keys TO reader", database_name)
    settings = service_settings | {"DCS_DATABASE_USER": "reader"}  # who may read nothing else
    with closing(ServiceProcess("app.main", settings)) as api:
        api.wait_until_live()
        answer = api.get("/api/v1/jobs")
        assert answer.status_code == 500
        check_security_headers(answer)


def test_a_page_of_a_known_origin_may_call_and_another_s_may_not(apis: list[ServiceProcess]) -> None:
    def preflight(origin: str) -> httpx.Response:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "x-api-key,idempotency-key"
        return apis[0].request("OPTIONS", TRIGGER, client=None, headers=asked)

    allowed = preflight(ORIGIN)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert allowed.headers["access-control-max-age"] == "600"
    assert "*" not in "".join(allowed.headers.values())
    refused = preflight("https://evil.example")
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    for answer in (allowed, refused):
        check_security_headers(answer)
    # A page may read why it was refused, too.
    answer = get(apis[0], ME, {"Origin": ORIGIN})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, ORIGIN)
    answer = get(apis[0], ME, headers_of("acme") | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
