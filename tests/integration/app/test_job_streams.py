"""Results as streams, and events as they happen."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.keys import Key
from app.access.principal import Scope
from app.access.repository import KeySpec
from app.access.standing import ASK_AGAIN_SECONDS
from app.database.engine import Database
from app.jobs.repository import JobRepository, Progressed
from app.models import JobState
from tests.support.access import admit, headers_of
from tests.support.databases import open_database, target
from tests.support.nginx import Nginx, nginx_before
from tests.support.postgres import PostgresServer
from tests.support.queue import claim, execute, insert
from tests.support.service import ServiceProcess, Start
from tests.support.tcp import PathState, TcpForwarder
from tests.support.waiting import eventually

JOBS = "/api/v1/jobs"
NGINX_PATIENCE_SECONDS = 15.0
"""Its `proxy_read_timeout`."""
POLL = {"DCS_EVENT_POLL_SECONDS": "0.1"}


@pytest.fixture(scope="module")
def api(service_settings: dict[str, str]) -> Iterator[ServiceProcess]:
    with closing(ServiceProcess("app.main", service_settings | POLL)) as process:
        process.wait_until_live()
        yield process


@pytest.fixture(scope="module")
def path(postgres: PostgresServer) -> Iterator[TcpForwarder]:
    with TcpForwarder(("127.0.0.1", postgres.port)) as path:
        yield path


@pytest.fixture(scope="module")
def shaky_api(service_settings: dict[str, str], path: TcpForwarder) -> Iterator[ServiceProcess]:
    """An API whose path to the database can be closed."""
    overrides = {"DCS_DATABASE_PORT": str(path.port), "DCS_CACHE_RESULT_SECONDS": "0", **POLL}
    with closing(ServiceProcess("app.main", service_settings | overrides)) as process:
        process.wait_until_live()
        yield process


@pytest.fixture
def database(postgres: PostgresServer, database_name: str) -> Iterator[Database]:
    """A pool with time enough to store big results at once."""
    postgres.execute("TRUNCATE jobs CASCADE", database_name)
    with closing(open_database(target(postgres.port, database_name), deadline=30)) as database:
        yield database


def finished(database: Database, records: int, content: str) -> str:
    """Return a job that succeeded with so many records; ``content`` is an expression in ``n``."""
    job_id = insert(database)
    numbers = "generate_series(0, CAST(:count AS int) - 1) AS n"
    insertion = f"INSERT INTO records SELECT :id, n, {content} FROM {numbers}"  # noqa: S608  given below
    execute(database, insertion, id=job_id, count=records)
    update = "UPDATE jobs SET state = 'succeeded', record_count = :count, finished_at = now() WHERE id = :id"
    execute(database, update, id=job_id, count=records)
    return str(job_id)


def test_a_result_is_streamed_as_lines(api: ServiceProcess, database: Database) -> None:
    job_id = finished(database, 1234, "jsonb_build_object('n', n)")
    answer = api.get(f"{JOBS}/result/{job_id}", headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.headers["x-record-count"] == "1234"
    assert answer.headers["x-accel-buffering"] == "no"  # else nginx keeps it until it has a page full
    assert [json.loads(line)["n"] for line in answer.text.splitlines()] == list(range(1234))
    rest = api.get(f"{JOBS}/result/{job_id}", params={"format": "ndjson", "after": 1230})
    assert rest.text.splitlines() == ['{"n":1231}', '{"n":1232}', '{"n":1233}']
    assert api.metric("dcs_result_streams_total", outcome="complete") >= 2
    assert api.get(f"{JOBS}/result/{job_id}", params={"format": "xml"}).status_code == 422


def test_a_table_has_every_column_that_any_record_has(api: ServiceProcess, database: Database) -> None:
    job_id = finished(
        database,
        3000,
        'CASE WHEN n = 2999 THEN \'{"late": {"a": 1}, "id": "=1+1"}\'::jsonb '
        "ELSE jsonb_build_object('id', n, 'name', 'a, \"b\"') END",
    )
    answer = api.get(f"{JOBS}/result/{job_id}", params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="{job_id}.csv"'
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 3001
    assert rows[0] == ["id", "name", "late"]
    assert rows[1] == ["0", 'a, "b"', ""]
    assert rows[-1] == ["'=1+1", "", '{"a":1}']


def test_a_table_that_would_be_too_wide_is_refused(api: ServiceProcess, database: Database) -> None:
    job_id = finished(database, 1100, "jsonb_build_object('column' || n, n)")
    answer = api.get(f"{JOBS}/result/{job_id}", params={"format": "csv"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:dcs:problem:too-many-columns")


def test_an_unfinished_job_has_no_stream_of_results(api: ServiceProcess, database: Database) -> None:
    job_id = insert(database)
    answer = api.get(f"{JOBS}/result/{job_id}", params={"format": "ndjson"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:dcs:problem:job-unfinished")


def test_a_stream_that_cannot_go_on_is_seen_to_be_cut(
    shaky_api: ServiceProcess, path: TcpForwarder, database: Database
) -> None:
    api = shaky_api
    job_id = finished(database, 3000, "jsonb_build_object('n', n, 'text', repeat('x', 20000))")
    url = f"{api.url}{JOBS}/result/{job_id}?format=ndjson"
    with httpx.stream("GET", url, headers=headers_of("default"), timeout=30) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_bytes()
        next(chunks)
        path.set_state(PathState.REFUSE)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            for _ in chunks:
                pass
    path.set_state(PathState.PASS)
    assert api.metric("dcs_result_streams_total", outcome="cut") == 1
    assert [line["job_id"] for line in api.events("result_stream_cut")] == [job_id]


@pytest.mark.parametrize("after", [-1, 3, 8])
def test_a_stream_whose_last_records_are_gone_is_seen_to_be_cut(
    api: ServiceProcess, database: Database, after: int
) -> None:
    job_id = finished(database, 10, "jsonb_build_object('n', n)")
    query = {"format": "ndjson", "after": after}
    assert len(api.get(f"{JOBS}/result/{job_id}", params=query).text.splitlines()) == 9 - after
    execute(database, "DELETE FROM records WHERE job_id = :id AND ordinal > 7", id=job_id)
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        api.get(f"{JOBS}/result/{job_id}", params=query)
    assert [line["sent"] for line in api.events("result_stream_cut") if line["job_id"] == job_id] == [
        max(0, 7 - after)
    ]


def test_a_stream_that_begins_behind_the_end_is_empty_and_whole(
    api: ServiceProcess, database: Database
) -> None:
    job_id = finished(database, 10, "jsonb_build_object('n', n)")
    for after in (9, 10, 2**31 - 1):
        answer = api.get(f"{JOBS}/result/{job_id}", params={"format": "ndjson", "after": after})
        assert (answer.status_code, answer.text) == (200, "")


def test_a_slow_reader_holds_no_connection(api: ServiceProcess, database: Database) -> None:
    job_id = finished(database, 3000, "jsonb_build_object('n', n, 'text', repeat('x', 20000))")
    url = f"{api.url}{JOBS}/result/{job_id}"
    with httpx.stream(
        "GET", url, params={"format": "ndjson"}, headers=headers_of("default"), timeout=30
    ) as slow:
        next(slow.iter_bytes())
        eventually(
            lambda: api.metric("dcs_db_pool_connections", state="in_use") == 0,
            within_seconds=10,
            what="no connection is in use",
        )
        assert api.get(f"{JOBS}/status/{job_id}").status_code == 200


class Events:
    """What a stream has told so far, read in the background."""

    def __init__(self, answer: httpx.Response) -> None:
        self.heard: list[tuple[str, str, dict[str, Any]]] = []
        self.ended = threading.Event()
        self._answer = answer
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._answer.iter_lines():
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    self.heard.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
                    fields = {}
        finally:
            self.ended.set()

    def names(self) -> list[str]:
        return [name for _, name, _ in self.heard]


@contextmanager
def listening(api: ServiceProcess | Nginx, job_id: object, *, last: int | None = None) -> Iterator[Events]:
    headers = headers_of("default") | ({} if last is None else {"Last-Event-ID": str(last)})
    with httpx.stream("GET", f"{api.url}{JOBS}/{job_id}/events", headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        if isinstance(api, ServiceProcess):  # nginx obeys it and does not pass it on
            assert answer.headers["x-accel-buffering"] == "no"
        yield Events(answer)


def test_events_come_as_they_happen_and_end_with_the_job(api: ServiceProcess, database: Database) -> None:
    job_id = insert(database)
    with listening(api, job_id) as stream:
        eventually(lambda: stream.names() == ["submitted"], within_seconds=10, what="the beginning")
        [job] = claim(database)
        with database.statement() as connection:
            JobRepository(connection).watch([Progressed(job.id, job.epoch, 3, 10)])
        eventually(lambda: "progress" in stream.names(), within_seconds=10, what="progress")
        with database.transaction() as connection:
            JobRepository(connection).give_up(job, JobState.FAILED, reason="gone", message="x")
        assert stream.ended.wait(10)
    assert [(number, name) for number, name, _ in stream.heard] == [
        ("1", "submitted"),
        ("2", "claimed"),
        ("", "progress"),
        ("3", "failed"),
    ]
    assert stream.heard[2][2] == {"done": 3, "total": 10}
    last = stream.heard[-1][2]
    assert (last["status"], last["detail"]) == ("failed", {"reason": "gone"})
    with listening(api, job_id, last=1) as again:
        assert again.ended.wait(10)
    assert again.names() == ["claimed", "failed"]
    done = api.get(f"{JOBS}/{job_id}/events", headers={"Last-Event-ID": "3"})
    assert done.status_code == 204
    eventually(lambda: api.metric("dcs_job_event_streams") == 0, within_seconds=5, what="no stream is open")


@pytest.fixture
def nginx(api: ServiceProcess, tmp_path: Path) -> Iterator[Nginx]:
    with nginx_before((api.port, api.port), tmp_path / "nginx") as nginx:
        yield nginx


def test_nginx_holds_no_event_back(nginx: Nginx, database: Database) -> None:
    job_id = insert(database)
    with listening(nginx, job_id) as stream:
        eventually(lambda: stream.names() == ["submitted"], within_seconds=10, what="the beginning")
        [job] = claim(database)
        eventually(lambda: stream.names()[1:] == ["claimed"], within_seconds=10, what="the next event")
        with database.transaction() as connection:
            JobRepository(connection).give_up(job, JobState.FAILED, reason="gone", message="x")
        assert stream.ended.wait(10)
    assert stream.names() == ["submitted", "claimed", "failed"]


@pytest.mark.full
def test_nginx_does_not_give_up_on_a_job_that_waits(nginx: Nginx, database: Database) -> None:
    job_id = insert(database)
    with listening(nginx, job_id) as stream:
        assert not stream.ended.wait(NGINX_PATIENCE_SECONDS + 2)
        [job] = claim(database)
        with database.transaction() as connection:
            JobRepository(connection).give_up(job, JobState.FAILED, reason="gone", message="x")
        assert stream.ended.wait(10)
    assert stream.names() == ["submitted", "claimed", "failed"]


def revoked(database: Database, key: Key) -> None:
    execute(database, "UPDATE api_keys SET revoked_at = now() WHERE key_id = :id", id=key.key_id)


def expiring(database: Database, key: Key) -> None:
    execute(
        database, "UPDATE api_keys SET expires_at = now() + interval '1 s' WHERE key_id = :id", id=key.key_id
    )


@pytest.fixture
def second_key(postgres: PostgresServer, database_name: str) -> Iterator[Key]:
    """Another key of the client ``default``."""
    key = Key.new()
    admit(
        postgres.port,
        database_name,
        "default",
        key,
        KeySpec(frozenset(Scope), rate_limit_per_minute=10**6, burst=10**6),
    )
    yield key
    gone = f"DELETE FROM api_keys WHERE key_id = '{key.key_id}'"  # noqa: S608
    postgres.execute(gone, database_name)


@pytest.mark.parametrize("end", [revoked, expiring])
def test_events_end_with_the_key_they_are_told_to(
    api: ServiceProcess, database: Database, second_key: Key, end: Callable[[Database, Key], None]
) -> None:
    job_id = insert(database)
    key = {"X-API-Key": second_key.text}
    with (
        listening(api, job_id) as theirs,
        httpx.stream("GET", f"{api.url}{JOBS}/{job_id}/events", headers=key, timeout=60) as answer,
    ):
        stream = Events(answer)
        eventually(lambda: stream.names() == ["submitted"], within_seconds=10, what="the beginning")
        end(database, second_key)
        assert stream.ended.wait(20)
        assert not theirs.ended.is_set()
        with database.transaction() as connection:
            JobRepository(connection).cancel(job_id, "default")
        assert theirs.ended.wait(10)
    assert theirs.names() == ["submitted", "cancelled"]
    assert stream.names() == ["submitted"]
    assert httpx.get(f"{api.url}{JOBS}/{job_id}/events", headers=key).status_code == 401
    assert [line["key_id"] for line in api.events("stream_standing_lost")][-1:] == [second_key.key_id]


def test_a_result_is_cut_when_its_reader_loses_the_key(
    api: ServiceProcess, database: Database, second_key: Key
) -> None:
    job_id = finished(database, 3000, "jsonb_build_object('n', n, 'text', repeat('x', 20000))")
    url, key = f"{api.url}{JOBS}/result/{job_id}?format=ndjson", {"X-API-Key": second_key.text}
    with httpx.stream("GET", url, headers=key, timeout=60) as answer:
        chunks = answer.iter_bytes()
        next(chunks)
        revoked(database, second_key)
        eventually(
            lambda: httpx.get(f"{api.url}{JOBS}", headers=key).status_code == 401,
            within_seconds=15,
            what="the key is refused",
        )
        time.sleep(ASK_AGAIN_SECONDS)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            for _ in chunks:
                pass
    cut = [line["reason"] for line in api.events("result_stream_cut") if line["job_id"] == job_id]
    assert cut == ["standing_lost"]


def test_a_client_has_so_many_streams_and_no_more(start: Start, database: Database) -> None:
    api = start(
        "app.main",
        DCS_CLIENT_EVENT_STREAMS_MAX="2",
        DCS_EVENT_STREAMS_MAX="3",
        DCS_EVENT_POLL_SECONDS="0.1",
    )
    job_id = insert(database)
    theirs = insert(database, "other")
    path = f"{JOBS}/{job_id}/events"
    with listening(api, job_id), listening(api, job_id) as second:
        refused = api.get(path)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:dcs:problem:too-many-streams")
        headers = headers_of("other")
        with httpx.stream("GET", f"{api.url}{JOBS}/{theirs}/events", headers=headers, timeout=30) as third:
            assert third.status_code == 200
            busy = api.get(f"{JOBS}/{theirs}/events", client="other")
            assert (busy.status_code, busy.json()["type"]) == (503, "urn:dcs:problem:streams-busy")
        assert int(refused.headers["retry-after"]) > 0
        # Who is told to come back later may: a stream that was left gives its place back.
        eventually(lambda: api.metric("dcs_job_event_streams") == 2, within_seconds=10, what="a free place")
        # A process that is to end does not wait for those who listen.
        assert second.names() == [] or second.names() == ["submitted"]
        assert api.terminate() == 0
        assert second.ended.wait(5)


def test_streams_outlive_a_database_that_is_away_for_a_while(
    shaky_api: ServiceProcess, path: TcpForwarder, database: Database
) -> None:
    api, job_id = shaky_api, insert(database)
    with listening(api, job_id) as stream:
        eventually(lambda: stream.names() == ["submitted"], within_seconds=10, what="the beginning")
        missed = len(api.events("db_connect_failed"))
        path.set_state(PathState.REFUSE)
        eventually(
            lambda: len(api.events("db_connect_failed")) > missed, within_seconds=10, what="it is missed"
        )
        with database.transaction() as connection:
            JobRepository(connection).cancel(job_id, "default")
        assert not stream.ended.is_set()
        path.set_state(PathState.PASS)
        assert stream.ended.wait(15)
    assert stream.names() == ["submitted", "cancelled"]
