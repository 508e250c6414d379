"""Jobs as their clients see them: keys, lists, cancels, replays, the audit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.postgres import PostgresServer
from tests.support.scene import mutated_service
from tests.support.service import ServiceProcess, Start
from tests.support.upstream import Mood, Upstream
from tests.support.waiting import eventually

API = {"endpoint": "evidence", "resource": "controls", "page_size": 10}
FILE = {"path": "acme/assets.csv"}
JOBS = "/api/v1/jobs"


@pytest.fixture(autouse=True)
def _nothing_left_over(postgres: PostgresServer, database_name: str) -> None:
    postgres.execute("TRUNCATE jobs, job_events CASCADE", database_name)


def slug(answer: Any) -> str:
    return str(answer.json()["type"]).removeprefix("urn:dcs:problem:")


def status(api: ServiceProcess, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.get(f"{JOBS}/status/{job_id}").raise_for_status().json()
    return answer


def reaches(api: ServiceProcess, job_id: str, *states: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        found = status(api, job_id)
        return found if found["status"] in states else None

    return eventually(there, within_seconds=20, what=f"job {job_id} is {states}")


def audit(api: ServiceProcess, job_id: str) -> list[str]:
    events = api.get(f"{JOBS}/{job_id}/audit").raise_for_status().json()["events"]
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    return [one["event"] for one in events]


def test_a_request_that_is_sent_again_with_its_key_is_stored_once(
    api: ServiceProcess, postgres: PostgresServer, database_name: str
) -> None:
    def send(_: int) -> Any:
        return api.trigger("file", FILE, **{"Idempotency-Key": "2026-11-22/assets"})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(16)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
    assert (replayed.count(None), replayed.count("true")) == (1, 15)
    assert postgres.rows("SELECT count(*) FROM jobs", database_name) == [(1,)]
    # Another client's key of the same name is another key.
    assert (
        api.trigger("file", FILE, client="other", **{"Idempotency-Key": "2026-11-22/assets"}).json()["job_id"]
        != answers[0].json()["job_id"]
    )


def test_a_key_stands_for_the_same_request_in_a_release_that_knows_more_of_it(
    api: ServiceProcess,
    service_settings: dict[str, str],
    postgres: PostgresServer,
    database_name: str,
    tmp_path: Path,
) -> None:
    def with_an_option_more(app: Path) -> None:
        source = app / "sources" / "file.py"
        text = source.read_text()
        field = "    path: str = Field(\n"
        assert text.count(field) == 1
        source.write_text(text.replace(field, "    sheet: str | None = None\n" + field))

    root = mutated_service(tmp_path, with_an_option_more)
    key = {"Idempotency-Key": "of-two-releases"}
    with closing(ServiceProcess("app.main", service_settings, root=root)) as newer:
        newer.wait_until_live()
        assert newer.trigger("file", {**FILE, "sheet": "2"}).status_code == 202
        told = [each.trigger("file", FILE, **key) for each in (api, newer, api)]
        assert [answer.status_code for answer in told] == [202, 202, 202], told[1].text
        assert len({answer.json()["job_id"] for answer in told}) == 1
        newly = newer.trigger("file", FILE).json()["job_id"]
    # What a worker of the release before finds in the queue has nothing that it does not know.
    query = f"SELECT config FROM jobs WHERE id = '{newly}'"  # noqa: S608
    assert postgres.rows(query, database_name) == [(FILE,)]


def test_a_key_stands_for_one_request_only(api: ServiceProcess) -> None:
    key = {"Idempotency-Key": "k"}
    assert api.trigger("file", FILE, **key).status_code == 202
    other = api.trigger("file", {"path": "acme/events.jsonl"}, **key)
    assert (other.status_code, slug(other)) == (409, "idempotency-key-reused")
    body = {"source_type": "file", "config": FILE, "priority": 3}
    assert api.post(f"{JOBS}/trigger", json=body, headers=key).status_code == 409
    for strange in ("", "x" * 201, "two words", "ümlaut"):
        refused = api.trigger("file", FILE, **{"Idempotency-Key": strange.encode("latin-1")})  # type: ignore[arg-type]
        assert refused.status_code == 422, strange


def test_a_list_has_filters_and_pages(api: ServiceProcess) -> None:
    made = []
    for priority in (0, 0, 0, 5, 9):
        body = {"source_type": "file", "config": FILE, "priority": priority}
        made.append(api.post(f"{JOBS}/trigger", json=body).json()["job_id"])
    api.trigger("file", FILE, client="other")
    newest_first = made[::-1]

    def listed(**params: Any) -> list[str]:
        return [job["job_id"] for job in api.get(JOBS, params=params).raise_for_status().json()["jobs"]]

    assert listed() == newest_first
    assert listed(priority=0) == newest_first[2:]
    assert listed(status=["queued", "running"], source_type="file") == newest_first
    assert listed(status="succeeded") == listed(source_type="api") == []
    second = status(api, made[1])["created_at"]
    assert listed(created_after=second) == newest_first[:4]
    assert listed(created_before=second) == made[:1]

    seen, cursor = [], None
    while True:
        page = api.get(JOBS, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["job_id"] for job in page["jobs"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == newest_first
    cursor = api.get(JOBS, params={"limit": 2}).json()["next_cursor"]
    for strange in ("x", "A" * 43, cursor[:-1], cursor + "é"):
        assert api.get(JOBS, params={"cursor": strange}).status_code == 422, strange
    other_filters = api.get(JOBS, params={"cursor": cursor, "priority": 0})
    assert other_filters.status_code == 422
    assert api.get(JOBS, params={"cursor": cursor}, client="other").status_code == 422
    for name, value in {"status": "lost", "limit": 201, "priority": 10, "created_after": "now"}.items():
        assert api.get(JOBS, params={name: value}).status_code == 422, name


def test_a_queued_job_is_cancelled_at_once(api: ServiceProcess) -> None:
    job_id = api.trigger("file", FILE).json()["job_id"]
    for _ in range(2):
        answer = api.post(f"{JOBS}/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert audit(api, job_id) == ["submitted", "cancelled"]
    assert api.get(f"{JOBS}/result/{job_id}").json()["records"] == []
    assert slug(api.post(f"{JOBS}/{job_id}/replay")) == "job-not-replayable"


def test_a_client_whose_queue_is_full_is_refused_and_no_other(start: Start) -> None:
    api = start("app.main", DCS_CLIENT_QUEUED_MAX="3")
    first = api.trigger("file", FILE, **{"Idempotency-Key": "first"})
    for _ in range(2):
        assert api.trigger("file", FILE).status_code == 202
    refused = api.trigger("file", FILE)
    assert (refused.status_code, slug(refused)) == (429, "queue-full")
    assert int(refused.headers["retry-after"]) > 0
    # What is stored already is no new job.
    again = api.trigger("file", FILE, **{"Idempotency-Key": "first"})
    assert (again.status_code, again.json()["job_id"]) == (202, first.json()["job_id"])
    assert api.trigger("file", FILE, client="other").status_code == 202
    api.post(f"{JOBS}/{first.json()['job_id']}/cancel")
    eventually(lambda: api.trigger("file", FILE).status_code == 202, within_seconds=5, what="there is room")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/status/{id}"),
        ("GET", "/result/{id}"),
        ("GET", "/result/{id}?format=csv"),
        ("GET", "/result/{id}?format=ndjson"),
        ("GET", "/{id}/events"),
        ("GET", "/{id}/audit"),
        ("POST", "/{id}/cancel"),
        ("POST", "/{id}/replay"),
    ],
)
def test_another_clients_job_does_not_exist(api: ServiceProcess, method: str, path: str) -> None:
    job_id = api.trigger("file", FILE).json()["job_id"]
    theirs = api.request(method, JOBS + path.format(id=job_id), client="other")
    nobodys = api.request(method, JOBS + path.format(id=uuid4()), client="other")
    assert (theirs.status_code, slug(theirs)) == (404, "job-not-found")
    assert (nobodys.status_code, nobodys.json()["detail"]) == (404, theirs.json()["detail"])
    assert audit(api, job_id) == ["submitted"]


def test_the_document_names_every_error_of_every_route(api: ServiceProcess) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    expected = {
        ("/trigger", "post"): {"202", "409", "422", "429", "503"},
        ("", "get"): {"200", "422", "503"},
        ("/dead-letters", "get"): {"200", "422", "503"},
        ("/status/{job_id}", "get"): {"200", "404", "422", "503"},
        ("/result/{job_id}", "get"): {"200", "404", "409", "422", "503"},
        ("/{job_id}/cancel", "post"): {"200", "202", "404", "409", "422", "503"},
        ("/{job_id}/replay", "post"): {"202", "404", "409", "422", "429", "503"},
        ("/{job_id}/audit", "get"): {"200", "404", "422", "503"},
        ("/{job_id}/events", "get"): {"200", "204", "404", "422", "429", "503"},
    }
    for (path, method), codes in expected.items():
        assert codes <= paths[JOBS + path][method]["responses"].keys(), path
    result = paths[f"{JOBS}/result/{{job_id}}"]["get"]["responses"]["200"]["content"]
    assert {"application/json", "application/x-ndjson", "text/csv"} <= result.keys()


# From here on a worker runs.


def test_a_running_job_that_is_cancelled_stores_nothing(
    api: ServiceProcess,
    worker: ServiceProcess,
    upstream: Upstream,
    postgres: PostgresServer,
    database_name: str,
) -> None:
    upstream.hold()
    try:
        job_id = api.trigger("api", API).json()["job_id"]
        assert upstream.asked.wait(10)
        answer = api.post(f"{JOBS}/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
        assert answer.json()["cancel_requested"]
    finally:
        upstream.release()
    assert reaches(api, job_id, "cancelled", "succeeded")["status"] == "cancelled"
    assert postgres.rows("SELECT count(*) FROM records", database_name) == [(0,)]
    assert audit(api, job_id) == ["submitted", "claimed", "cancel_requested", "cancelled"]
    [event] = eventually(
        lambda: [line for line in worker.events("job_cancelled") if line["job_id"] == job_id],
        within_seconds=5,
        what="the worker says so",
    )
    assert event["client_id"] == "default"


def test_a_finished_job_is_neither_cancelled_nor_replayed(
    api: ServiceProcess, worker: ServiceProcess
) -> None:
    job_id = api.trigger("file", FILE).json()["job_id"]
    reaches(api, job_id, "succeeded")
    for act, problem in (("cancel", "job-finished"), ("replay", "job-not-replayable")):
        answer = api.post(f"{JOBS}/{job_id}/{act}")
        assert (answer.status_code, slug(answer)) == (409, problem)
    assert audit(api, job_id) == ["submitted", "claimed", "succeeded"]


def test_a_dead_letter_is_listed_and_replayed(
    start: Start, worker: ServiceProcess, upstream: Upstream
) -> None:
    api = start("app.main", DCS_MAX_ATTEMPTS="1")
    upstream.mood = Mood.ERROR
    try:
        job_id = api.trigger("api", API).json()["job_id"]
        reaches(api, job_id, "dead")
    finally:
        upstream.mood = Mood.GOOD
    [letter] = api.get(f"{JOBS}/dead-letters").json()["jobs"]
    assert (letter["job_id"], letter["error"]["reason"]) == (job_id, "http_500")
    assert api.get(f"{JOBS}/dead-letters", client="other").json()["jobs"] == []
    eventually(lambda: worker.metric("dcs_jobs_dead") == 1, within_seconds=10, what="it is counted")
    answer = api.post(f"{JOBS}/{job_id}/replay")
    assert (answer.status_code, answer.json()) == (202, {"job_id": job_id, "status": "queued"})
    assert reaches(api, job_id, "succeeded")["attempt"] == 1
    assert api.get(f"{JOBS}/dead-letters").json() == {"jobs": [], "next_cursor": None}
    assert audit(api, job_id) == ["submitted", "claimed", "dead", "replayed", "claimed", "succeeded"]
