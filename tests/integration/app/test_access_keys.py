"""Keys over time: they expire, change peppers, outlive an absent database, and are never written down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
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
from tests.support.access import RATE_LIMIT_PER_MINUTE
from tests.support.databases import open_database, target
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess
from tests.support.tcp import PathState, TcpForwarder
from tests.support.valkey import ValkeyServer
from tests.support.waiting import eventually

ME, KEYS, TOKEN = "/api/v1/access/me", "/api/v1/access/keys", "/api/v1/access/token"
TRIGGER = "/api/v1/jobs/trigger"
OLD, NEW = "the old pepper, a line", "the new pepper, a line"
PROXY = "127.0.0.78"
GRACE_SECONDS = 6.0
FORGOTTEN_SECONDS_MAX = 5.0
_numbers = count(1)


@pytest.fixture(scope="module")
def paths(postgres: PostgresServer, valkey: ValkeyServer) -> Iterator[tuple[TcpForwarder, TcpForwarder]]:
    """The ways to the database and to Redis."""
    with (
        TcpForwarder(("127.0.0.1", postgres.port)) as database,
        TcpForwarder(("127.0.0.1", valkey.port)) as cache,
    ):
        yield database, cache


@pytest.fixture(scope="module")
def service_settings(
    service_settings: dict[str, str],
    paths: tuple[TcpForwarder, TcpForwarder],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "pepper").write_text(f"{NEW}\n{OLD}\n")
    (secrets / "token").write_text("s" * 40)
    return service_settings | {
        "DCS_DATABASE_PORT": str(paths[0].port),
        "DCS_REDIS_URL": f"redis://127.0.0.1:{paths[1].port}/0",
        "DCS_ACCESS_REDIS_BUDGET_SECONDS": "1.0",
        "DCS_ACCESS_PEPPER_FILE": str(secrets / "pepper"),
        "DCS_ACCESS_GRACE_SECONDS": str(GRACE_SECONDS),
        "DCS_ACCESS_TRUSTED_PROXIES": json.dumps([f"{PROXY}/32"]),
        "DCS_ACCESS_TOKEN_KEYS": json.dumps({"one": str(secrets / "token")}),
        "DCS_ACCESS_TOKEN_KEY": "one",
        "DCS_ACCESS_FAILURES_PER_MINUTE": "100000",
    }


@pytest.fixture(autouse=True)
def _everything_answers(paths: tuple[TcpForwarder, TcpForwarder]) -> Iterator[None]:
    yield
    for path in paths:
        path.set_state(PathState.PASS)


Admit = Callable[..., Key]


@pytest.fixture
def admit(postgres: PostgresServer, database_name: str) -> Admit:
    """Return a function that stores a key, by default with the pepper that is used for new ones."""

    def admit(pepper: str | None = NEW, client: str | None = None, **spec: Any) -> Key:
        key = Key.new()
        owner = client or f"over-time-{next(_numbers)}"
        limits = {"rate_limit_per_minute": RATE_LIMIT_PER_MINUTE, "burst": RATE_LIMIT_PER_MINUTE}
        wanted = KeySpec(**{"scopes": frozenset(Scope), **limits, **spec})
        hashed = Peppers(*([pepper.encode()] if pepper else [])).hash(key)
        with (
            closing(open_database(target(postgres.port, database_name))) as opened,
            opened.transaction() as tx,
        ):
            repository = KeyRepository(tx)
            repository.create_client(owner)
            repository.insert(owner, key.key_id, hashed, wanted)
        return key

    return admit


def ask(
    api: ServiceProcess, key: Key, path: str = ME, *, address: str | None = None, **headers: str
) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=15) as client:
        return client.get(f"{api.url}{path}", headers={"X-API-Key": key.text, **headers})


def sent(key: Key) -> dict[str, Any]:
    return {"client": None, "headers": {"X-API-Key": key.text}}


def signature(key: Key, method: str, path: str, body: bytes, nonce: str) -> dict[str, str]:
    peppers = Peppers(NEW.encode())
    secret = peppers.signing_secret(key.key_id, peppers.hash(key))
    now = str(int(time.time()))
    made = signing.sign(secret, method=method, target=path, body=body, timestamp=now, nonce=nonce)
    return {"X-API-Key": key.text, "X-Timestamp": now, "X-Nonce": nonce, "X-Signature": f"v1={made}"}


def test_an_expired_key_says_so_to_its_holder_only(api: ServiceProcess, admit: Admit) -> None:
    key = admit(lifetime_seconds=0)
    answer = ask(api, key)
    assert answer.status_code == 401
    assert "has expired" in answer.json()["detail"]
    guess = ask(api, Key(key.key_id, "0" * 64))
    assert guess.status_code == 401
    assert "expired" not in guess.json()["detail"], "who does not hold it learns nothing of it"


def test_an_old_key_ends_with_the_overlap_and_takes_its_tokens_along(
    api: ServiceProcess, admit: Admit
) -> None:
    key = admit()
    token = api.post(TOKEN, json={}, **sent(key)).json()["access_token"]
    bearer = {"client": None, "headers": {"Authorization": f"Bearer {token}"}}
    assert api.get(ME, **bearer).json()["key_id"] == key.key_id
    made = api.post(f"{KEYS}/{key.key_id}/rotate", json={"overlap_seconds": 3}, **sent(key))
    began = time.monotonic()
    new = Key.parse(made.json()["secret"])
    assert new is not None
    assert ask(api, new).json()["scopes"] == ask(api, key).json()["scopes"]
    # Two are active: no third by a second rotation.
    assert api.post(f"{KEYS}/{key.key_id}/rotate", json={}, **sent(new)).status_code == 409
    eventually(
        lambda: ask(api, key).status_code == 401, within_seconds=3 + FORGOTTEN_SECONDS_MAX, what="it ended"
    )
    assert time.monotonic() - began > 2
    assert api.get(ME, **bearer).status_code == 401
    assert ask(api, new).status_code == 200
    assert (
        api.post(f"{KEYS}/{key.key_id}/rotate", json={}, **sent(new)).json()["type"].endswith("key-inactive")
    )


def test_keys_of_every_pepper_that_is_kept_are_good(api: ServiceProcess, admit: Admit) -> None:
    for pepper in (NEW, OLD, None):
        assert ask(api, admit(pepper)).status_code == 200, pepper
    gone = admit("a pepper that was taken out")
    assert ask(api, gone).status_code == 401
    told = eventually(lambda: api.events("access_pepper_missing"), within_seconds=5, what="it is logged")
    assert told[0]["key_id"] == gone.key_id


def test_new_keys_are_made_with_the_first_pepper(
    api: ServiceProcess, admit: Admit, postgres: PostgresServer, database_name: str
) -> None:
    made = api.post(KEYS, json={"scopes": ["jobs:read"]}, **sent(admit(OLD))).json()
    query = f"SELECT secret_hash FROM api_keys WHERE key_id = '{made['key']['key_id']}'"  # noqa: S608
    [(stored,)] = postgres.rows(query, database_name)
    key = Key.parse(made["secret"])
    assert key is not None
    assert stored == Peppers(NEW.encode()).hash(key)


def test_nothing_that_is_kept_opens_anything(
    api: ServiceProcess, admit: Admit, postgres: PostgresServer, valkey: ValkeyServer, database_name: str
) -> None:
    keys = [admit(), admit(None), admit(signing_required=True)]
    made = api.post(KEYS, json={"scopes": ["admin"]}, **sent(keys[0])).json()["secret"]
    api.post(TRIGGER, json={"source_type": "file", "config": {"path": "acme/assets.csv"}}, **sent(keys[0]))
    api.get(f"/api/v1/jobs?cursor={keys[0].text}", **sent(keys[0]))
    tables = postgres.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database_name)
    dump = "\n".join(
        str(row[0])
        for (table,) in tables
        for row in postgres.rows(f'SELECT one::text FROM "{table}" AS one', database_name)  # noqa: S608
    )
    assert keys[0].key_id in dump
    everywhere = {"the database": dump, "the log": api.output(), "the figures": api.get("/metrics").text}
    for secret in (made.split("_")[2], *(key.secret for key in keys)):
        for where, text in everywhere.items():
            assert secret not in text, where
    # What is stored is no key either.
    for key in keys:
        query = f"SELECT secret_hash FROM api_keys WHERE key_id = '{key.key_id}'"  # noqa: S608
        [(stored,)] = postgres.rows(query, database_name)
        assert ask(api, Key(key.key_id, str(stored).rsplit(":", 1)[1])).status_code == 401


def test_networks_of_a_key_go_by_the_address_that_can_be_believed(api: ServiceProcess, admit: Admit) -> None:
    key = admit(ip_allowlist=("198.51.100.0/24", "2001:db8::/32"))
    for forwarded, status in (
        ("198.51.100.7", 200),
        ("203.0.113.1, 198.51.100.7", 200),
        ("2001:db8:1::1", 200),
        ("::ffff:198.51.100.7", 200),
        ("198.51.100.7, 203.0.113.1", 403),
        ("rubbish", 403),
    ):
        answer = ask(api, key, address=PROXY, **{"X-Forwarded-For": forwarded})
        assert answer.status_code == status, forwarded
    assert ask(api, key, **{"X-Forwarded-For": "198.51.100.7"}).status_code == 403
    assert ask(api, key, address=PROXY).json()["type"] == "urn:dcs:problem:address-refused"


def test_signatures_fail_closed_and_keys_do_not(
    api: ServiceProcess, admit: Admit, paths: tuple[TcpForwarder, TcpForwarder]
) -> None:
    signing_key, plain = admit(signing_required=True), admit()
    paths[1].set_state(PathState.REFUSE)
    refused = api.get(ME, client=None, headers=signature(signing_key, "GET", ME, b"", "n" * 16))
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:dcs:problem:limits-unavailable"
    assert ask(api, plain).status_code == 200
    paths[1].set_state(PathState.PASS)

    def again() -> bool:
        nonce = f"again-{time.monotonic_ns():016d}"
        signed = signature(signing_key, "GET", ME, b"", nonce)
        return api.get(ME, client=None, headers=signed).status_code == 200

    eventually(again, within_seconds=10, what="signatures are taken again")


def test_a_signed_body_may_come_in_pieces_and_is_read_once(api: ServiceProcess, admit: Admit) -> None:
    key = admit(signing_required=True)
    body = json.dumps({"source_type": "file", "config": {"path": "acme/assets.csv"}}).encode()
    json_type = {"Content-Type": "application/json"}

    def post(nonce: str, content: Any, path: str = TRIGGER) -> httpx.Response:
        headers = signature(key, "POST", path, body, nonce) | json_type
        return api.post(path, client=None, headers=headers, content=content)

    pieces = iter([body[:7], body[7:30], body[30:]])
    assert post("pieces-" + "0" * 16, pieces).status_code == 202
    assert post("short", body).status_code == 401
    assert post("query-" + "0" * 16, body, f"{TRIGGER}?a=%20b&c=1").status_code == 202
    # A body beyond the limit is not read to the end to be checked.
    huge = api.post(
        TRIGGER,
        client=None,
        headers=signature(key, "POST", TRIGGER, body, "huge-" + "0" * 16) | json_type,
        content=iter([b"x" * 65_536] * 32),
    )
    assert huge.status_code == 413
    # What a nonce was used with is a key: another key may use the same.
    other = admit(signing_required=True)
    for one in (key, other):
        headers = signature(one, "GET", ME, b"", "shared-" + "0" * 16)
        assert [api.get(ME, client=None, headers=headers).status_code for _ in range(2)] == [200, 401]


def test_a_key_that_was_known_counts_while_the_database_is_away(
    api: ServiceProcess, admit: Admit, paths: tuple[TcpForwarder, TcpForwarder]
) -> None:
    known, unknown = admit(), admit()
    assert ask(api, known).status_code == 200
    by_grace = api.metric("dcs_access_keys_by_grace_total")
    paths[0].set_state(PathState.REFUSE)
    began = time.monotonic()
    stranger = ask(api, unknown)
    assert stranger.status_code == 503, "neither let in nor called wrong"
    assert stranger.json()["type"] == "urn:dcs:problem:database-unavailable"
    assert stranger.headers["x-content-type-options"] == "nosniff"
    answers = []
    while time.monotonic() - began < GRACE_SECONDS - 3:
        answers.append(ask(api, known).status_code)
        time.sleep(0.1)
    assert set(answers) == {200}
    assert api.metric("dcs_access_keys_by_grace_total") > by_grace
    eventually(
        lambda: ask(api, known).status_code == 503, within_seconds=GRACE_SECONDS + 5, what="grace ends"
    )
    assert time.monotonic() - began > GRACE_SECONDS - 3
    paths[0].set_state(PathState.PASS)
    eventually(
        lambda: [ask(api, key).status_code for key in (known, unknown)] == [200, 200],
        within_seconds=10,
        what="both are back",
    )


def test_use_is_noted_to_the_minute(api: ServiceProcess, admit: Admit) -> None:
    key = admit()

    def noted() -> str | None:
        shown = api.get(KEYS, **sent(key)).json()["keys"]
        used: str | None = shown[0]["last_used_at"]
        return used

    # It is written with the next look-up.
    first = eventually(noted, within_seconds=10, what="the use is noted")
    time.sleep(1.2)
    assert noted() == first


def test_refusals_have_the_headers_of_every_answer(api: ServiceProcess, admit: Admit) -> None:
    slow = admit(rate_limit_per_minute=1, burst=1)
    ask(api, slow)
    answers = {
        401: api.get(ME, client=None),
        403: ask(api, admit(scopes=frozenset({Scope.JOBS_READ})), KEYS),
        404: ask(api, admit(), "/api/v1/nowhere"),
        405: api.request("PATCH", TRIGGER, **sent(admit())),
        413: api.post(TRIGGER, content=b"x" * 1_100_000, **sent(admit())),
        414: ask(api, admit(), f"{ME}?{'x' * 5_000}"),
        422: api.post(TRIGGER, json={}, **sent(admit())),
        429: ask(api, slow),
        431: ask(api, admit(), **{"X-Much": "x" * 17_000}),
    }
    for status, answer in answers.items():
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json", status
        assert answer.headers["x-content-type-options"] == "nosniff", status
        assert answer.headers["x-frame-options"] == "DENY", status
        assert answer.headers["cache-control"] == "no-store", status
        assert answer.headers["content-security-policy"].startswith("default-src 'none'"), status
        assert answer.headers["x-request-id"] == answer.json()["request_id"], status


def test_only_a_proxy_that_is_trusted_says_that_it_was_tls(api: ServiceProcess, admit: Admit) -> None:
    key, header = admit(), "strict-transport-security"
    assert header in ask(api, key, address=PROXY, **{"X-Forwarded-Proto": "https"}).headers
    assert header not in ask(api, key, address=PROXY, **{"X-Forwarded-Proto": "http"}).headers
    assert header not in ask(api, key, address=PROXY).headers
    assert header not in ask(api, key, **{"X-Forwarded-Proto": "https"}).headers


def test_a_service_whose_pepper_is_no_secret_does_not_start(
    service_settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "short").write_text("short\n")
    settings = service_settings | {"DCS_ACCESS_PEPPER_FILE": str(tmp_path / "short")}
    with closing(ServiceProcess("app.main", settings)) as process:
        assert process.process.wait(30) != 0
        assert "a pepper has at least 16 characters" in process.output()
