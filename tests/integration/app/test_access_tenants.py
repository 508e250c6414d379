"""Tenant by route: every operation of the OpenAPI document, asked for by everybody who must not have it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from app.access.keys import Key
from app.access.principal import Scope
from app.access.repository import KeySpec
from app.apidocs.document import operations
from app.main import create_app
from app.settings import Settings
from tests.support.access import admit, headers_of, key_of
from tests.support.postgres import PostgresServer
from tests.support.seaweed import SeaweedServer
from tests.support.service import ServiceProcess
from tests.support.waiting import eventually

OWNER, STRANGER, WEAK = "acme", "globex", "weakling"
SECRET_WORD = "only-acme-may-read-this"
DAY = "2026-03-04"

# What a request needs to get as far as the question whose it is. A new operation with a body belongs here.
BODIES: Mapping[str, Any] = {
    "jobs_trigger": {"source_type": "file", "config": {"path": "acme/assets.csv"}},
    "access_token": {},
    "access_create_key": {"scopes": ["jobs:read"]},
    "access_rotate_key": {},
    "ingest_populate": {"day": DAY},
    "ingest_events": {"Records": []},
    "avatars_create": {"prompt": "a lighthouse"},
}


OPERATIONS = [each for each in operations(create_app(Settings()).openapi()) if "security" in each[2]]
EVERY = [
    pytest.param(method, path, each["operationId"], id=each["operationId"])
    for path, method, each in OPERATIONS
]
SCOPE_OF = {
    each["operationId"]: Scope(found[1])
    for _, _, each in OPERATIONS
    if (found := re.search(r"Needs the scope `([a-z:]+)`", each["description"]))
}


def weak_key(missing: Scope) -> Key:
    """Return the key that may do everything but one thing."""
    return key_of(f"{WEAK} {missing}")


@dataclass(frozen=True)
class Scene:
    api: ServiceProcess
    ids: Mapping[str, str]
    """Of things that belong to the owner, by the parameter of the path."""

    def call(self, method: str, path: str, operation: str, headers: Mapping[str, str]) -> Any:
        content = json.dumps(BODIES[operation]) if operation in BODIES else None
        sent = {**headers, **({"Content-Type": "application/json"} if content else {})}
        kinds = self.ids | ({"job_id": self.ids["avatar_id"]} if operation.startswith("avatars_") else {})
        url = path.format(**{name: kinds[name] for name in ("job_id", "key_id", "run_id", "file_id")})
        return self.api.request(method.upper(), url, client=None, headers=sent, content=content)


@pytest.fixture(scope="module")
def scene(
    service_settings: dict[str, str], s3: SeaweedServer, postgres: PostgresServer, database_name: str
) -> Iterator[Scene]:
    unlimited = {"DCS_ACCESS_ANONYMOUS_RATE_LIMIT_PER_MINUTE": "100000", "DCS_ACCESS_BURST": "1000"}
    settings = service_settings | s3.settings() | unlimited
    for missing in Scope:
        spec = KeySpec(frozenset(Scope) - {missing}, rate_limit_per_minute=100_000, burst=100_000)
        admit(postgres.port, database_name, WEAK, weak_key(missing), spec)
    s3.put_csv(f"{OWNER}/{DAY}/tenants.csv", [f"1,{SECRET_WORD}"])
    with (
        closing(ServiceProcess("app.main", settings)) as api,
        closing(ServiceProcess("app.worker", settings)) as worker,
    ):
        api.wait_until_live()
        worker.wait_until_live()
        job = api.trigger("file", {"path": "acme/assets.csv"}, client=OWNER).json()["job_id"]
        avatar = api.post("/api/v1/avatars", json={"prompt": SECRET_WORD}, client=OWNER).json()["job_id"]
        run = api.post("/api/v1/populate", json={"day": DAY}, client=OWNER).json()["run_id"]

        def loaded() -> str | None:
            files = api.get("/api/v1/populate/files", client=OWNER).json()["files"]
            return str(files[0]["file_id"]) if files and files[0]["status"] == "loaded" else None

        file = eventually(loaded, within_seconds=60, what="the owner's file is loaded")
        for name, path in ((job, "jobs/status"), (avatar, "avatars")):
            eventually(
                lambda name=name, path=path: (  # type: ignore[misc]
                    api.get(f"/api/v1/{path}/{name}", client=OWNER).json()["status"] in ("succeeded", "ready")
                ),
                within_seconds=60,
                what=f"{path} has ended",
            )
        ids = {"job_id": job, "avatar_id": avatar, "run_id": run, "file_id": file}
        yield Scene(api, ids | {"key_id": key_of(OWNER).key_id})


@pytest.mark.parametrize(("method", "path", "operation"), EVERY)
def test_nobody_without_a_key_gets_anything(scene: Scene, method: str, path: str, operation: str) -> None:
    answer = scene.call(method, path, operation, {})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:dcs:problem:credential-missing"


@pytest.mark.parametrize(("method", "path", "operation"), EVERY)
def test_a_key_without_the_scope_gets_no_further(
    scene: Scene, method: str, path: str, operation: str
) -> None:
    if operation in ("access_me", "access_token"):
        assert operation not in SCOPE_OF  # anybody with a key may ask who they are
        return
    answer = scene.call(method, path, operation, {"X-API-Key": weak_key(SCOPE_OF[operation]).text})
    assert answer.status_code == 403, answer.text
    assert answer.json()["type"] == "urn:dcs:problem:scope-missing"
    assert SECRET_WORD not in answer.text


@pytest.mark.parametrize(("method", "path", "operation"), EVERY)
def test_another_client_sees_nothing_of_the_owner_s(
    scene: Scene, method: str, path: str, operation: str
) -> None:
    answer = scene.call(method, path, operation, headers_of(STRANGER))
    if "{" in path:
        assert answer.status_code == 404, answer.text
    else:
        assert answer.status_code < 500, answer.text
    if operation == "jobs_trigger":
        return  # the lab's clients share the folder of files; whose job it is, is another matter
    assert SECRET_WORD not in answer.text
    if "{" not in path:  # a refusal repeats the path that was asked for
        assert [name for name, value in scene.ids.items() if name != "file_id" and value in answer.text] == []


@pytest.mark.parametrize(("method", "path", "operation"), EVERY)
def test_the_owner_does_find_what_the_others_do_not(
    scene: Scene, method: str, path: str, operation: str
) -> None:
    if "{" not in path or operation in ("access_revoke_key", "access_rotate_key", "jobs_events"):
        return  # what would change the scene, or never ends
    answer = scene.call(method, path, operation, headers_of(OWNER))
    assert answer.status_code in (200, 202, 409), answer.text


def test_every_operation_with_a_body_has_one_here() -> None:
    document = create_app(Settings()).openapi()
    with_body = {each["operationId"] for _, _, each in operations(document) if "requestBody" in each}
    assert with_body == set(BODIES)


def test_scopes_are_all_in_use() -> None:
    assert set(SCOPE_OF.values()) == set(Scope)
