"""What looks like what is wanted and is not: refused with 422, and nobody's defect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.service import ServiceProcess

CLIENT = "acme"
KEY = "acme/2026-11-21/odd.csv"
HALF = "\ud800"  # of a surrogate pair
JSON = {"Content-Type": "application/json"}
API = {"endpoint": "evidence", "resource": "controls"}
TRIGGER, POPULATE, EVENTS = "/api/v1/jobs/trigger", "/api/v1/populate", "/api/v1/populate/events"
KEYS, TOKEN, AVATARS = "/api/v1/access/keys", "/api/v1/access/token", "/api/v1/avatars"


@pytest.fixture(scope="module")
def service_settings(service_settings: dict[str, str]) -> dict[str, str]:
    return service_settings | {"DCS_INGEST_BUCKET": "landing"}


def event(*, name: str = "x", time: Any = None, **thing: Any) -> dict[str, Any]:
    s3 = {"bucket": {"name": "landing"}, "object": {"key": KEY, "eTag": name, **thing}}
    return {"Records": [{"eventName": "ObjectCreated:Put", "eventTime": time, "s3": s3}]}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (TRIGGER, {"source_type": "api", "config": API, "priority": True}, "priority"),
        (TRIGGER, {"source_type": "api", "config": API, "priority": "1"}, "priority"),
        (TRIGGER, {"source_type": "api", "config": API | {"page_size": 1.5}}, "config.page_size"),
        (TRIGGER, {"source_type": "api", "config": API | {HALF: 1}}, "config"),
        (TRIGGER, {"source_type": "api", "config": {"url": f"http://{HALF}/"}}, "config.url"),
        (TRIGGER, {"source_type": "file", "config": {"path": f"{HALF}.csv"}}, "config.path"),
        (TRIGGER, {"source_type": "s3", "config": {"key": f"{HALF}.csv"}}, "config.key"),
        (TRIGGER, {"source_type": HALF, "config": {}}, "source_type"),
        (
            TRIGGER,
            {
                "source_type": "database",
                "config": {"database": "acme", "query": "open_findings", "params": {HALF: "a\0"}},
            },
            "config.params.\ufffd\ufffd\ufffd.[key]",
        ),
        (POPULATE, {"day": 20_000}, "day"),
        (POPULATE, {"day": "20000"}, "day"),
        (POPULATE, {"day": "2026-11-21", "force": 1}, "force"),
        (POPULATE, {"day": "2026-11-21", "prefix": "acme/"}, "body"),
        (POPULATE, {"prefix": f"acme/{HALF}"}, "prefix"),
        (POPULATE, {"object": {"key": KEY, "version": "a\0b"}}, "object.version"),
        (POPULATE, {"object": {"key": KEY, "version": HALF}}, "object.version"),
        (EVENTS, event(name="a\0b"), "Records.0.s3.object.eTag"),
        (EVENTS, event(name=HALF), "Records.0.s3.object.eTag"),
        (EVENTS, event(key=HALF), "Records.0.s3.object.key"),
        (EVENTS, event(size=False), "Records.0.s3.object.size"),
        (EVENTS, event(size=2**63), "Records.0.s3.object.size"),
        (EVENTS, event(time=1), "Records.0.eventTime"),
        (KEYS, {"scopes": ["jobs:read"], "lifetime_seconds": True}, "lifetime_seconds"),
        (TOKEN, {"lifetime_seconds": "100"}, "lifetime_seconds"),
        (TOKEN, {"scopes": [HALF]}, "scopes.0"),
        (AVATARS, {"prompt": HALF}, "body"),
    ],
)
def test_what_is_not_of_its_type_is_refused(
    api: ServiceProcess, path: str, body: dict[str, Any], field: str
) -> None:
    answer = api.post(path, content=json.dumps(body), headers=JSON, client=CLIENT)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b"1" * 5000, b"NaN", b'"\\ud800"', b"\0"],
    ids=["none", "half", "not UTF-8", "deep", "deeper", "long number", "NaN", "half a pair", "NUL"],
)
@pytest.mark.parametrize("path", [TRIGGER, POPULATE, EVENTS, KEYS, AVATARS])
def test_what_is_no_json_is_refused(api: ServiceProcess, path: str, body: bytes) -> None:
    answer = api.post(path, content=body, headers=JSON, client=CLIENT)
    assert answer.status_code in {413, 422}, answer.text
    if answer.status_code == 422:
        assert answer.json()["errors"][0]["field"] == "body"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/jobs?created_after=0", "created_after"),
        ("/api/v1/jobs?created_after=2026-11-22", "created_after"),
        ("/api/v1/jobs?cursor=%00", "cursor"),
        ("/api/v1/jobs?source_type=a%00", "source_type"),
        ("/api/v1/avatars?cursor=%00", "cursor"),
        ("/api/v1/populate/files?day=0", "day"),
        ("/api/v1/populate/files/9223372036854775808", "file_id"),
        ("/api/v1/populate/days?before=20000", "before"),
        ("/api/v1/jobs/%ff/events", "job_id"),
    ],
)
def test_a_parameter_that_is_not_of_its_type_is_refused(api: ServiceProcess, path: str, field: str) -> None:
    answer = api.get(path, client=CLIENT)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_what_is_odd_and_right_is_taken(api: ServiceProcess) -> None:
    for time in ("2026-11-22T10:58:12-22:23", "0001-01-01T00:00:00%2B15:00", "9999-12-31T23:59:59-15:00"):
        assert api.get(f"/api/v1/jobs?created_before={time}", client=CLIENT).status_code == 200
    body = {"source_type": "api", "config": API, "priority": 3.0}
    job_id = api.post(TRIGGER, json=body, client=CLIENT).json()["job_id"]
    assert api.get(f"/api/v1/jobs/status/{job_id}", client=CLIENT).json()["priority"] == 3
    for one in (
        event(time="2000-01-01T00:00:00-22:23"),
        event(name="z", time="0001-01-01T00:00:00+15:00"),
        event(name="y", time="2000-01-01T00:00:00", size=5.0),
    ):
        assert api.post(EVENTS, json=one, client=CLIENT).json()["new"] == 1
    assert api.events("request_failed") == []
