"""Files become rows, once each: against a real store and a real database."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.event import listen, remove

from app.ingest.reading import LedgerReading
from app.models import FileState
from app.settings import Settings
from tests.support.ingest import CLIENT, Ingestion
from tests.support.queue import insert
from tests.support.seaweed import SeaweedServer, event
from tests.support.waiting import eventually


def findings(*numbers: int, severity: str = "3") -> list[str]:
    return [f"F-{number},asset-{number},{severity}" for number in numbers]


HEADER = "id,asset,severity"


def test_a_day_by_hand_becomes_rows_of_its_client(ingestion: Ingestion, s3: SeaweedServer, day: str) -> None:
    s3.put_csv(f"acme/{day}/findings.csv", findings(1, 2, 3), HEADER)
    s3.put_csv(f"acme/{day}/assets.2.csv.gz", ['7,"a, ""quoted""\nname"', "8,é"])
    s3.put(f"acme/{day}/events.jsonl", '{"id": 1, "deep": {"x": [1.50, null]}}\n\n{"id": "b"}\r\n')
    s3.put_csv(f"globex/{day}/findings.csv", findings(1), HEADER)
    ingestion.load(day)
    assert ingestion.states() == dict.fromkeys(("findings.csv", "assets.2.csv.gz", "events.jsonl"), "loaded")
    assert ingestion.content("findings")["F-2"] == {"id": "F-2", "asset": "asset-2", "severity": "3"}
    assert ingestion.content("assets") == {
        "7": {"id": "7", "name": 'a, "quoted"\nname'},
        "8": {"id": "8", "name": "é"},
    }
    assert ingestion.content("events") == {"1": {"id": 1, "deep": {"x": [1.5, None]}}, "b": {"id": "b"}}
    assert ingestion.states("globex") == {}
    assert ingestion.rows("SELECT sum(rows), sum(rejected) FROM ingest_files") == [(7, 0)]
    assert ingestion.rows("SELECT files_new, files_known FROM ingest_runs") == [(3, 0)]


def test_however_often_it_is_told_a_version_makes_one_job(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    key = f"acme/{day}/findings.csv"
    version = s3.put_csv(key, findings(1, 2), HEADER)
    assert ingestion.hear_of(key, version).new == 1
    assert ingestion.hear(event(key, f'"{version}"'), event(key, version)).known == 2
    ingestion.load(day)
    ingestion.load(day)
    assert ingestion.hear_of(key, version).known == 1
    assert ingestion.rows("SELECT count(*) FROM jobs WHERE source_type = 'ingest_file'") == [(1,)]
    assert len(ingestion.content("findings")) == 2


def test_a_call_with_events_of_many_files_takes_few_statements(ingestion: Ingestion, day: str) -> None:
    """Each is a way to the database and back, and the slot of a request is held meanwhile."""
    records = [
        event(f"{client}/{day}/{number}.csv", f"v{number}")
        for number in range(5)  # in turns
        for client in (f"many-{client}" for client in range(20))
    ]
    statements: list[str] = []
    count = lambda *arguments: statements.append(arguments[2])  # noqa: E731
    listen(Engine, "before_cursor_execute", count)
    try:
        assert ingestion.hear(*records[:-2], *records[:2]).new == 98
    finally:
        remove(Engine, "before_cursor_execute", count)
    assert len(statements) <= 5
    assert ingestion.hear(*reversed(records)).known == 98
    sql = "SELECT count(*) FROM ingest_files JOIN jobs ON jobs.id = job_id WHERE key LIKE 'many-%'"
    assert ingestion.rows(sql) == [(100,)]
    sql = "SELECT count(*) FROM job_events WHERE client_id LIKE 'many-%' AND event = 'submitted'"
    assert ingestion.rows(sql) == [(100,)]


def test_files_of_unknown_version_are_looked_up_alone_or_by_their_day(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    alone, *others = (f"{client}/{day}/{name}.csv" for client, name in zip("abb", "123", strict=True))
    for key in (alone, *others):
        s3.put_csv(key, ["1,x"])
    told = [event(key, "") for key in (alone, alone, *others, *others)]
    assert ingestion.hear(*told).listings == 2
    specs = [spec for (spec,) in ingestion.rows("SELECT spec FROM ingest_runs ORDER BY client_id")]
    assert [(spec["key"], spec["days"]) for spec in specs] == [(alone, []), (None, [day])]
    ingestion.work_until_idle()
    assert ingestion.rows("SELECT count(*) FROM ingest_files WHERE state = 'loaded'") == [(3,)]


def test_the_same_events_in_every_order_at_once_make_each_job_once(ingestion: Ingestion, day: str) -> None:
    records = [event(f"acme/{day}/{number}.csv", f"v{number}") for number in range(50)]
    with ThreadPoolExecutor(4) as callers:
        asked = [
            callers.submit(ingestion.hear, *(records if number % 2 else reversed(records)))
            for number in range(12)
        ]
    assert sum(one.result().new for one in asked) == 50
    assert ingestion.rows("SELECT count(*) FROM jobs WHERE source_type = 'ingest_file'") == [(50,)]


def test_one_clients_full_queue_keeps_no_other_clients_files_from_being_listed(
    ingestion: Ingestion, s3: SeaweedServer, ingest_settings: Settings, day: str
) -> None:
    for client in ("acme", "globex"):  # in the order in which they are listed
        for number in range(2):
            s3.put_csv(f"{client}/{day}/{number}.csv", ["1,x"])
    few = Ingestion(ingestion.database, s3, ingest_settings.model_copy(update={"client_queued_max": 2}))
    for _ in range(2):
        insert(ingestion.database, "acme")
    few.service.schedule([dt.date.fromisoformat(day)], slot=dt.datetime.now(dt.UTC))
    for _ in range(10):  # more often than a job is tried
        few.rows("UPDATE jobs SET run_at = now() RETURNING 1")
        few.work()
    files = "SELECT client_id, state, count(*) FROM ingest_files GROUP BY 1, 2 ORDER BY 1"
    assert few.rows(files) == [("globex", "loaded", 2)]
    listing = "SELECT state, error ->> 'reason' FROM jobs WHERE source_type = 'ingest_list'"
    assert few.rows(listing) == [("queued", "queue_full")]
    few.rows("DELETE FROM jobs WHERE source_type = 'file' RETURNING 1")

    def loaded() -> bool:
        few.rows("UPDATE jobs SET run_at = now() RETURNING 1")  # however long it was to wait
        few.work()
        return few.rows(files) == [("acme", "loaded", 2), ("globex", "loaded", 2)]

    eventually(loaded, within_seconds=10, what="the rest is listed, too")
    assert few.rows(listing) == [("succeeded", None)]


def test_a_lost_event_is_made_up_for_by_the_scheduled_listing(
    ingestion: Ingestion, s3: SeaweedServer, ingest_settings: Settings, day: str
) -> None:
    today = dt.datetime.now(dt.UTC).date()
    name = f"lost-{day}"
    s3.put_csv(f"acme/{today}/{name}.csv", ["1,x"])
    s3.put_csv(f"globex/{today - dt.timedelta(days=3)}/{name}.csv", ["1,x"])
    ingestion.watch.run_once()
    ingestion.watch.run_once()
    other = Ingestion(ingestion.database, s3, ingest_settings)
    other.watch.run_once()
    assert ingestion.rows("SELECT count(*) FROM ingest_runs WHERE cause = 'schedule'") == [(1,)]
    ingestion.work_until_idle()
    assert ingestion.states()[f"{name}.csv"] == "loaded"
    assert ingestion.states("globex")[f"{name}.csv"] == "loaded"


def test_listings_are_kept_as_long_as_their_jobs_and_the_last_of_the_schedule_for_good(
    ingestion: Ingestion, s3: SeaweedServer, ingest_settings: Settings, day: str
) -> None:
    ingestion.watch.run_once()
    ingestion.load(day)
    runs = "SELECT cause FROM ingest_runs ORDER BY cause"
    Ingestion(ingestion.database, s3, ingest_settings).watch.run_once()
    assert ingestion.rows(runs) == [("hand",), ("schedule",)]
    ingestion.rows("DELETE FROM jobs RETURNING 1")  # as the purge does when they are old
    Ingestion(ingestion.database, s3, ingest_settings).watch.run_once()
    assert ingestion.rows(runs) == [("schedule",)]


def test_events_are_mapped_to_clients_by_key_and_the_rest_is_ignored(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    version = s3.put_csv(f"globex/{day}/a b+c.csv", ["1,x"])
    named = s3.put_csv(f"globex/{day}/plain.csv", ["1,x"])
    taken = ingestion.hear(
        event(f"globex/{day}/a+b%2Bc.csv", version),  # no name of a dataset
        event(f"globex/{day}/plain.csv", named),
        event(f"globex/{day}/plain.csv", named, bucket="another"),
        event(f"globex/{day}/plain.csv", named, name="ObjectRemoved:Delete"),
        event(f"quarantine/globex/{day}/plain.csv", named),
        event("ready", named),
        event("globex/2026-13-01/plain.csv", named),
        event(f"../globex/{day}/plain.csv", named),
    )
    assert (taken.new, taken.known, taken.ignored) == (1, 0, 7)
    # Without the right to speak for others, a client's events reach its own prefix only.
    assert ingestion.hear(event(f"globex/{day}/plain.csv", "0" * 32), client=CLIENT).ignored == 1


def test_an_event_without_a_version_is_looked_up(ingestion: Ingestion, s3: SeaweedServer, day: str) -> None:
    key = f"acme/{day}/findings.csv"
    s3.put_csv(key, findings(1), HEADER)
    assert ingestion.hear_of(key, "").listings == 1
    ingestion.work_until_idle()
    assert ingestion.states() == {"findings.csv": "loaded"}


def test_a_new_version_takes_the_place_of_the_old_rows(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    key = f"acme/{day}/findings.csv"
    first = s3.put_csv(key, findings(1, 2), HEADER)
    ingestion.load(day)
    second = s3.put_csv(key, findings(2, 3, severity="9"), HEADER)
    ingestion.load(day)
    assert {row: one["severity"] for row, one in ingestion.content("findings").items()} == {
        "F-2": "9",
        "F-3": "9",
    }
    states = dict(ingestion.rows("SELECT version, state FROM ingest_files"))
    assert states == {first: "superseded", second: "loaded"}
    # What arrives late about the first changes nothing: it is no longer there.
    ingestion.hear_of(key, first, at="2026-01-01T00:00:00Z")
    ingestion.work_until_idle()
    assert set(ingestion.content("findings")) == {"F-2", "F-3"}
    # Put once more, it counts again.
    s3.put_csv(key, findings(1, 2), HEADER)
    ingestion.load(day)
    assert {row: one["severity"] for row, one in ingestion.content("findings").items()} == {
        "F-1": "3",
        "F-2": "3",
    }


def test_events_in_the_wrong_order_end_with_what_is_there(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    key = f"acme/{day}/findings.csv"
    first = s3.put_csv(key, findings(1), HEADER)
    second = s3.put_csv(key, findings(2), HEADER)
    for version in (second, first, second, first):
        ingestion.hear_of(key, version)
        ingestion.work_until_idle()
    assert set(ingestion.content("findings")) == {"F-2"}
    states = dict(ingestion.rows("SELECT version, state FROM ingest_files"))
    assert states == {first: "superseded", second: "loaded"}


def test_a_missed_day_filled_in_later_does_not_replace_newer_rows(
    ingestion: Ingestion, s3: SeaweedServer
) -> None:
    s3.put_csv("acme/2025-06-02/findings.csv", findings(1, 2, severity="2"), HEADER)
    ingestion.load("2025-06-02")
    s3.put_csv("acme/2025-06-01/findings.csv", findings(2, 3, severity="1"), HEADER)
    ingestion.load("2025-06-01")
    assert {row: one["severity"] for row, one in ingestion.content("findings").items()} == {
        "F-1": "2", "F-2": "2", "F-3": "1",
    }  # fmt: skip
    s3.put_csv("acme/2025-06-03/findings.csv", [*findings(3, 4, 4, severity="3"), "F-4,last,7"], HEADER)
    ingestion.load("2025-06-03")
    content = ingestion.content("findings")
    assert (content["F-3"]["severity"], content["F-4"]["asset"]) == ("3", "last")
    assert len(content) == 4


def test_bad_rows_are_told_and_the_others_loaded(ingestion: Ingestion, s3: SeaweedServer, day: str) -> None:
    good = findings(*range(1, 1001))
    bad = ["F-x,asset", ",asset,1", "F-y,,1", "F-z,asset,high", 'F-q,"open"quote",1']
    body = "\n".join([HEADER, *good[:500], *bad, *good[500:]]).encode() + b"\nF-l,\xff\xfe,1\nF-n,a\0b,1\n"
    s3.put(f"acme/{day}/findings.csv", body)
    ingestion.load(day)
    found = ingestion.file("findings.csv")
    assert (found.status, found.rows, found.rejected) == (FileState.LOADED, 1000, 7)
    assert {one.row_number: one.reason for one in found.rejects} == {
        501: "fields_2_of_3", 502: "key_missing", 503: "asset_missing", 504: "severity_is_no_integer",
        505: "malformed", 1006: "not_utf8", 1007: "nul_character",
    }  # fmt: skip
    assert found.rejects[3].sample == "F-z,asset,high"


def test_bad_lines_of_json_are_told(ingestion: Ingestion, s3: SeaweedServer, day: str) -> None:
    lines: list[Any] = [json.dumps({"id": n}).encode() for n in range(500)]
    lines[10:10] = [b'{"id": ', b"[1]", b'{"id": {}}', b'{"name": "no key"}', b'{"id": "\\u0000"}', b"\xff"]
    s3.put(f"acme/{day}/events.jsonl", b"\n".join(lines))
    ingestion.load(day, force=True)
    assert ingestion.file("events.jsonl").status is FileState.QUARANTINED  # 6 of 506 are more than 1 in 100
    s3.put(
        f"acme/{day}/events.jsonl",
        b"\n".join(lines + [json.dumps({"id": -n}).encode() for n in range(1, 200)]),
    )
    ingestion.load(day)
    found = ingestion.file("events.jsonl")
    assert (found.status, found.rows, found.rejected) == (FileState.LOADED, 699, 6)
    assert [one.reason for one in found.rejects] == [
        "not_json", "not_an_object", "key_invalid", "key_missing", "nul_character", "not_utf8",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [
        ("findings.csv", b"", "bad_header"),
        ("findings.csv", b"id,id\n1,2\n", "bad_header"),
        ("findings.csv", b"id,severity\n1,2\n", "columns_missing"),
        ("findings.csv", b"\xff\xfe,asset,severity\n", "bad_header"),
        ("findings.csv", b"id,asset,severity\n1,a,b\n2,c,3\n", "too_many_rejected"),
        ("findings.csv", b"id,asset,severity\n" + b"x" * 1_100_000, "line_too_long"),
        ("findings.csv", b"id,asset,severity\n" + b"1,a,2\n" * 600_000, "too_large"),
        ("findings.csv.gz", b"no gzip at all", "not_gzip"),
        ("findings.csv.gz", gzip.compress(b"id,asset,severity\n" * 10_000)[:-9], "not_gzip"),
        ("findings.csv.gz", gzip.compress(b"1,a,2\n" * 1_000_000), "too_large"),  # a bomb: 6 MB in 6 KB
        ("events.jsonl", b"not json\n", "too_many_rejected"),
        ("events.jsonl", b"[" * 200_000 + b"\n", "too_many_rejected"),  # too deep for the database
    ],
    ids=lambda case: f"{case[0]}-{case[2]}",
)
def test_what_cannot_be_loaded_is_put_aside_with_why(
    ingestion: Ingestion, s3: SeaweedServer, day: str, case: tuple[str, bytes, str]
) -> None:
    name, body, reason = case
    version = s3.put(f"acme/{day}/{name}", body)
    ingestion.load(day)
    found = ingestion.file(name)
    assert (found.status, found.error.reason, found.rows) == (FileState.QUARANTINED, reason, 0)
    assert found.quarantine_key == f"quarantine/acme/{day}/{name}.{version}"
    assert s3.metadata(found.quarantine_key)["dcs-reason"] == reason
    assert ingestion.rows("SELECT count(*) FROM ingested_rows") == [(0,)]
    ingestion.load(day)  # it stays there until it is replaced, or somebody insists
    assert ingestion.rows("SELECT count(*) FROM jobs WHERE source_type = 'ingest_file'") == [(1,)]


def test_the_marker_completes_a_day_once_every_file_is_loaded(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    key = f"acme/{day}/findings.csv"
    s3.put(key, b"id,asset,severity\n1,a,b\n")
    s3.put_csv(f"acme/{day}/assets.csv", ["1,x"])
    ingestion.load(day)

    def standing() -> tuple[bool, int, int]:
        found = ingestion.service.days(client_id=CLIENT, before=None, limit=1).days[0]
        return found.complete, found.loaded, found.failed

    assert standing() == (False, 1, 1)
    s3.put(f"acme/{day}/_SUCCESS", b"")
    assert ingestion.hear_of(f"acme/{day}/_SUCCESS", "d41d8cd98f00b204e9800998ecf8427e").listings == 1
    assert ingestion.hear_of(f"acme/{day}/_SUCCESS", "d41d8cd98f00b204e9800998ecf8427e").listings == 0
    ingestion.work_until_idle()
    assert standing() == (False, 1, 1)
    s3.put_csv(key, findings(1), HEADER)
    ingestion.load(day)
    assert standing() == (True, 2, 0)


def test_a_day_is_missed_as_long_as_a_scheduled_listing_would_find_it(
    ingestion: Ingestion, s3: SeaweedServer, ingest_settings: Settings
) -> None:
    today = dt.datetime.now(dt.UTC).date()
    s3.put(f"acme/{today - dt.timedelta(days=4)}/_SUCCESS", b"")
    ingestion.load(str(today - dt.timedelta(days=4)))

    def missing(days_back: int) -> int:
        with ingestion.database.transaction() as connection:
            [one] = LedgerReading(connection).standings(due_hour=0, days_back=days_back)
        return one.missing

    assert [missing(days_back) for days_back in (1, 2, 7)] == [1, 2, 3]
    s3.put(f"acme/{today - dt.timedelta(days=2)}/_SUCCESS", b"")
    change = {"ingest_days_back": 2, "ingest_due_hour_utc": 0}
    other = Ingestion(ingestion.database, s3, ingest_settings.model_copy(update=change))
    other.watch.run_once()
    other.work_until_idle()
    assert missing(2) == 1


def test_a_replay_restores_what_was_lost(ingestion: Ingestion, s3: SeaweedServer, day: str) -> None:
    s3.put_csv(f"acme/{day}/findings.csv", findings(1, 2), HEADER)
    ingestion.load(day)
    found = ingestion.file("findings.csv")
    ingestion.rows("DELETE FROM ingested_rows RETURNING 1")
    replayed = ingestion.service.replay(found.file_id, client_id=CLIENT, request_id="test")
    again = ingestion.service.replay(found.file_id, client_id=CLIENT, request_id="test")
    assert (replayed.already_pending, again.already_pending) == (False, True)
    assert again.job_id == replayed.job_id
    ingestion.work_until_idle()
    assert len(ingestion.content("findings")) == 2


def test_a_file_that_is_deleted_before_it_is_loaded_is_gone_and_may_come_back(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    key = f"acme/{day}/findings.csv"
    version = s3.put_csv(key, findings(1), HEADER)
    ingestion.hear_of(key, version)
    s3.delete(key)
    ingestion.work_until_idle()
    assert ingestion.states() == {"findings.csv": "gone"}
    s3.put_csv(key, findings(1), HEADER)
    ingestion.load(day)
    assert ingestion.states() == {"findings.csv": "loaded"}
