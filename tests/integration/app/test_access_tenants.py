"""Every operation of the API against every kind of caller it is not for. What there is, the document says."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from app.access.keys import Key
from app.access.principal import OPERATOR_SCOPES, Scope
from app.access.repository import KeySpec
from app.main import create_app
from app.settings import Settings
from tests.support.access import RATE_LIMIT_PER_MINUTE, admit
from tests.support.postgres import PostgresServer
from tests.support.service import ServiceProcess
from tests.support.waiting import eventually

FIRST, SECOND = "tenant-one", "tenant-two"
MARK = "mark-of-tenant-one"
"""Is in everything of the first client's that text can be put in."""
DAY = "2026-03-01"
OPEN = {("GET", "/health"), ("GET", "/health/live"), ("GET", "/health/ready")}
"""Operations that need no key."""
FOR_ANY_KEY = {("GET", "/api/v1/access/me"), ("POST", "/api/v1/access/token")}
"""Operations that need a key, but no scope."""
STATES = ("queued", "running", "succeeded", "failed", "dead", "cancelled")
TABLES = ("jobs", "job_events", "avatars", "ingest_files", "ingest_days", "ingest_runs", "ingested_rows")
OBJECT = {"s3": {"bucket": {"name": "b-dcs"}, "object": {"key": f"{FIRST}/{DAY}/new.csv", "eTag": "0" * 32}}}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/v1/jobs/trigger"): {"source_type": "file", "config": {"path": "acme/assets.csv"}},
    ("POST", "/api/v1/access/token"): {},
    ("POST", "/api/v1/access/keys"): {"scopes": ["admin"]},
    ("POST", "/api/v1/access/keys/{key_id}/rotate"): {},
    ("POST", "/api/v1/populate"): {"day": DAY},
    ("POST", "/api/v1/populate/events"): {"Records": [{"eventName": "ObjectCreated:Put", **OBJECT}]},
    ("POST", "/api/v1/avatars"): {"prompt": "a tree"},
}
"""What a body may be. An operation that takes one and is not here fails these tests: put it here."""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    scope: Scope | None
    parameters: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Things:
    """What the first client has, by the name of the parameter that would name it."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    cursors: list[str] = field(default_factory=list)

    @property
    def traces(self) -> set[str]:
        """Strings that nobody else's answer may hold."""
        return {FIRST, MARK} | {one for name, ids in self.ids.items() if name != "file_id" for one in ids}


@dataclass
class Keys:
    """Keys of two clients: with one scope each, or with all but one."""

    only: dict[tuple[str, Scope | None], str] = field(default_factory=dict)
    all_but: dict[Scope, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def service_settings(
    service_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    secret = tmp_path_factory.mktemp("tokens") / "one"
    secret.write_text("s" * 40)
    return service_settings | {
        # So that everything is there; and no limit gets between an operation and its own answer.
        "DCS_ACCESS_TOKEN_KEYS": json.dumps({"one": str(secret)}),
        "DCS_ACCESS_TOKEN_KEY": "one",
        "DCS_ACCESS_BURST": str(RATE_LIMIT_PER_MINUTE),
        "DCS_ACCESS_ANONYMOUS_RATE_LIMIT_PER_MINUTE": str(RATE_LIMIT_PER_MINUTE),
        "DCS_ACCESS_FAILURES_PER_MINUTE": str(RATE_LIMIT_PER_MINUTE),
    }


@pytest.fixture(scope="module")
def api(service_settings: dict[str, str]) -> Iterator[ServiceProcess]:
    process = ServiceProcess("app.main", service_settings | {"DCS_INGEST_BUCKET": "b-dcs"})
    try:
        process.wait_until_live()
        yield process
    finally:
        process.close()


@pytest.fixture(scope="module")
def http(api: ServiceProcess) -> Iterator[httpx.Client]:
    """A connection that is kept: there are hundreds of calls."""
    with httpx.Client(base_url=api.url, timeout=15) as client:
        yield client


@pytest.fixture(scope="module")
def keys(postgres: PostgresServer, database_name: str) -> Keys:
    made = Keys()

    def make(client: str, *scopes: Scope) -> str:
        key = Key.new()
        spec = KeySpec(
            frozenset(scopes), rate_limit_per_minute=RATE_LIMIT_PER_MINUTE, burst=RATE_LIMIT_PER_MINUTE
        )
        admit(postgres.port, database_name, client, key, spec)
        return key.text

    for client in (FIRST, SECOND):
        for scope in Scope:
            made.only[client, scope] = make(client, scope)
        made.only[client, None] = made.only[client, Scope.JOBS_READ]
    for scope in Scope:
        made.all_but[scope] = make(FIRST, *(other for other in Scope if other is not scope))
    return made


@pytest.fixture(scope="module")
def operations(api: ServiceProcess) -> list[Operation]:
    document = api.get("/openapi.json").json()
    found = []
    for path, methods in document["paths"].items():
        for name, described in methods.items():
            method = name.upper()
            if "security" not in described:
                assert (method, path) in OPEN, f"{method} {path} needs no key"
                continue
            ((key_scopes,), (bearer_scopes,)) = (
                requirement.values() for requirement in described["security"]
            )
            assert key_scopes == bearer_scopes
            parameters = [one["name"] for one in described.get("parameters", ()) if one["in"] == "path"]
            scope = Scope(key_scopes[0]) if key_scopes else None
            assert (scope is None) == ((method, path) in FOR_ANY_KEY), f"{method} {path} needs {scope}"
            found.append(Operation(method, path, scope, tuple(parameters)))
            assert "requestBody" not in described or (method, path) in BODIES, (
                f"{method} {path}: no body known"
            )
    return found


@pytest.fixture(scope="module")
def things(
    api: ServiceProcess, worker: ServiceProcess, keys: Keys, postgres: PostgresServer, database_name: str
) -> Things:
    """Give the first client jobs in every state, an avatar, files, a listing and keys."""

    def post(path: str, scope: Scope, body: Any, **headers: str) -> str:
        sent = {"X-API-Key": keys.only[FIRST, scope], **headers}
        answer = api.post(path, client=None, headers=sent, json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def state(job_id: str) -> object:
        return postgres.rows(f"SELECT state FROM jobs WHERE id = '{job_id}'", database_name)[0][0]  # noqa: S608

    job = {"source_type": "file", "config": {"path": "acme/assets.csv"}}
    jobs = {
        name: post("/api/v1/jobs/trigger", Scope.JOBS_WRITE, job, **{"Idempotency-Key": f"{MARK}-{name}"})
        for name in STATES
    }
    avatar = post("/api/v1/avatars", Scope.AVATARS_WRITE, {"prompt": f"a boat {MARK}"})
    eventually(lambda: state(avatar) == "succeeded", within_seconds=30, what="the avatar is ready")
    eventually(
        lambda: all(state(job_id) == "succeeded" for job_id in jobs.values()),
        within_seconds=60,
        what="the jobs are done",
    )
    worker.terminate()
    for name, job_id in jobs.items():
        lease = "lease_until = now() + interval '1 h', lease_owner = 'nobody'," if name == "running" else ""
        finished = "finished_at" if name not in {"queued", "running"} else "NULL"
        postgres.execute(
            f"UPDATE jobs SET state = '{name}', {lease} finished_at = {finished}, "  # noqa: S608
            f"run_at = now() + interval '1 h' WHERE id = '{job_id}'",
            database_name,
        )
    run = "00000000-0000-4000-8000-00000000aaaa"
    postgres.execute(
        f"""
        INSERT INTO ingest_runs (id, client_id, cause, spec) VALUES ('{run}', '{FIRST}', 'hand', '{{}}');
        INSERT INTO ingest_days (client_id, day, marked_at) VALUES ('{FIRST}', '{DAY}', now());
        INSERT INTO ingest_files
            (client_id, bucket, key, version, day, dataset, size, modified_at, state, job_id)
        SELECT '{FIRST}', 'b-dcs', '{FIRST}/{DAY}/{MARK}.' || state || '.csv', '1', '{DAY}', '{MARK}', 1,
               now(), state, gen_random_uuid()
        FROM unnest(ARRAY['pending', 'loaded', 'quarantined', 'dead', 'superseded', 'gone']) AS state;
        """,  # noqa: S608
        database_name,
    )
    files = postgres.rows(f"SELECT id FROM ingest_files WHERE client_id = '{FIRST}'", database_name)  # noqa: S608
    found = Things(
        {
            "job_id": [*jobs.values(), avatar],
            "file_id": [str(one[0]) for one in files],
            "run_id": [run],
            "key_id": [text.split("_")[1] for (client, _), text in keys.only.items() if client == FIRST],
        }
    )
    for path, scope in (("/api/v1/jobs", Scope.JOBS_READ), ("/api/v1/jobs/dead-letters", Scope.JOBS_READ)):
        page = api.get(f"{path}?limit=1", client=None, headers={"X-API-Key": keys.only[FIRST, scope]}).json()
        if page["next_cursor"]:
            found.cursors.append(page["next_cursor"])
    assert found.cursors
    return found


def ways_to_ask(operation: Operation, things: Things) -> list[str]:
    """Return the paths of an operation that name things of the first client's."""
    unknown = [name for name in operation.parameters if name not in things.ids]
    assert not unknown, f"{operation}: give the first client something that is named by {unknown}"
    chosen = itertools.product(*(things.ids[name] for name in operation.parameters))
    return [operation.path.format(**dict(zip(operation.parameters, ids, strict=True))) for ids in chosen]


def ask(
    http: httpx.Client, operation: Operation, path: str, key: str | None, **headers: str
) -> httpx.Response:
    body = BODIES.get((operation.method, operation.path))
    sent = headers | ({} if key is None else {"X-API-Key": key})
    extra = {} if body is None else {"json": body}
    return http.request(operation.method, path, headers=sent, **extra)


def check_problem(answer: httpx.Response, status: int, what: str) -> None:
    assert answer.status_code == status, f"{what}: {answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json", what


def check_shows_nothing(answer: httpx.Response, path: str, things: Things, what: str) -> None:
    # A problem repeats the path that was asked for; that is no news.
    told = f"{answer.headers} {answer.text}".replace(path, "")
    told = told.replace(path.rsplit("/", 1)[-1], "") if answer.status_code == 404 else told
    assert not [trace for trace in things.traces if trace in told], f"{what}: {told}"


@pytest.fixture
def fingerprint(postgres: PostgresServer, database_name: str) -> Callable[[], str]:
    """Return a function that tells whether anything of the first client's has changed."""
    owned = f"SELECT key_id, expires_at, revoked_at FROM api_keys WHERE client_id = '{FIRST}' ORDER BY 1"  # noqa: S608
    # As text: an image would come as a view of memory, of which only the address can be seen.
    whole = "SELECT one::text FROM {} AS one WHERE client_id = '" + FIRST + "' ORDER BY 1"  # noqa: S608
    queries = [owned, *(whole.format(table) for table in TABLES)]

    def fingerprint() -> str:
        return repr([postgres.rows(query, database_name) for query in queries])

    return fingerprint


def test_the_document_knows_every_route(operations: list[Operation]) -> None:
    in_document = {(one.method, one.path) for one in operations} | OPEN
    routes = [route for route in create_app(Settings()).routes if isinstance(route, APIRoute)]
    served = {(method, route.path) for route in routes for method in route.methods or ()}
    beside = {path for _, path in served - in_document}
    assert beside <= {"/docs", "/metrics"}, "routes that no caller is tested against"
    assert len(operations) >= 25


def test_without_a_key_nothing_is_told(
    http: httpx.Client, operations: list[Operation], things: Things
) -> None:
    wrong = Key.new().text
    for operation in operations:
        path = ways_to_ask(operation, things)[0]
        for key in (None, wrong, "", "dcs_"):
            answer = ask(http, operation, path, key)
            check_problem(answer, 401, f"{operation} with the key {key!r}")
            assert answer.headers["www-authenticate"].startswith("ApiKey"), operation
            check_shows_nothing(answer, path, things, str(operation))
    # What is no route at all is not told either.
    for path in ("/", "/api/v1/nowhere", "/api/v2/jobs", "/healthy", "/docs/"):
        check_problem(http.get(path), 401, path)


def test_a_key_without_the_scope_is_refused_also_by_its_own_things(
    http: httpx.Client,
    operations: list[Operation],
    things: Things,
    keys: Keys,
    fingerprint: Callable[[], str],
) -> None:
    before = fingerprint()
    for operation in operations:
        if operation.scope is None:
            continue
        for path in ways_to_ask(operation, things):
            answer = ask(http, operation, path, keys.all_but[operation.scope])
            check_problem(answer, 403, f"{operation} at {path}")
            assert operation.scope in answer.json()["detail"], operation
    assert fingerprint() == before


def test_a_token_opens_no_more_than_was_asked_for(
    http: httpx.Client, operations: list[Operation], things: Things, keys: Keys
) -> None:
    wide = keys.all_but[Scope.ADMIN]
    asked = http.post("/api/v1/access/token", headers={"X-API-Key": wide}, json={"scopes": ["jobs:read"]})
    bearer = {"Authorization": f"Bearer {asked.json()['access_token']}"}
    for operation in operations:
        if operation.scope in {None, Scope.JOBS_READ}:
            continue
        answer = ask(http, operation, ways_to_ask(operation, things)[0], None, **bearer)
        check_problem(answer, 403, str(operation))
    check_problem(http.post("/api/v1/access/token", headers=bearer, json={}), 403, "a token's token")


def test_no_key_gets_over_the_api_what_only_the_operator_gives(http: httpx.Client, keys: Keys) -> None:
    """Neither one that lacks it nor one that has it."""
    for key in (keys.all_but[Scope.INGEST_EVENTS], keys.all_but[Scope.JOBS_READ]):
        for scope in OPERATOR_SCOPES:
            answer = http.post("/api/v1/access/keys", headers={"X-API-Key": key}, json={"scopes": [scope]})
            check_problem(answer, 403, scope)
            assert scope in answer.json()["detail"]


def test_the_first_client_finds_its_things(
    http: httpx.Client, operations: list[Operation], things: Things, keys: Keys
) -> None:
    """Without this, what the second is told would mean little."""
    for operation in operations:
        if operation.method != "GET" or operation.path.endswith("/events"):
            continue
        key = keys.only[FIRST, operation.scope]
        answers = [ask(http, operation, path, key) for path in ways_to_ask(operation, things)]
        assert any(answer.is_success for answer in answers), f"{operation}: {answers[0].text}"
        assert not any(answer.status_code in {401, 403} or answer.is_server_error for answer in answers)


def test_another_client_finds_nothing_and_changes_nothing(
    http: httpx.Client,
    operations: list[Operation],
    things: Things,
    keys: Keys,
    fingerprint: Callable[[], str],
) -> None:
    before = fingerprint()
    asked = 0
    for operation in operations:
        key = keys.only[SECOND, operation.scope]
        for path in ways_to_ask(operation, things):
            # Also with the first client's idempotency key: it stands for nothing of the second's.
            answer = ask(http, operation, path, key, **{"Idempotency-Key": f"{MARK}-queued"})
            what = f"{operation} at {path}"
            if operation.parameters:
                check_problem(answer, 404, what)
            else:
                assert answer.is_success or answer.status_code == 409, f"{what}: {answer.text}"
            check_shows_nothing(answer, path, things, what)
            assert "idempotency-replayed" not in answer.headers, what
            asked += 1
    assert asked > len(operations)
    assert fingerprint() == before


def test_pages_of_another_client_are_never_turned_to(http: httpx.Client, things: Things, keys: Keys) -> None:
    headers = {"X-API-Key": keys.only[SECOND, Scope.JOBS_READ]}
    for cursor in things.cursors:
        for path in ("/api/v1/jobs", "/api/v1/jobs/dead-letters", "/api/v1/jobs?status=dead"):
            answer = http.get(path, params={"cursor": cursor}, headers=headers)
            assert answer.status_code in {200, 422}, answer.text
            check_shows_nothing(answer, "-", things, path)
            # It holds a place in a list, and nothing that could be put to use.
            assert FIRST not in base64.urlsafe_b64decode(cursor + "==").decode("latin-1")
    avatars = http.get(
        "/api/v1/avatars?limit=200", headers={"X-API-Key": keys.only[SECOND, Scope.AVATARS_READ]}
    )
    check_shows_nothing(avatars, "-", things, "avatars")
