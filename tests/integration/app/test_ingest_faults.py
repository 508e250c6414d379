"""Ingestion when the store, the way to it, or the database fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.models import FileState
from app.settings import Settings
from tests.support.ingest import CLIENT, Ingestion
from tests.support.seaweed import SeaweedServer
from tests.support.tcp import PathState, TcpForwarder

ROWS = [f"F-{n},asset-{n},3" for n in range(5000)]
HEADER = "id,asset,severity"


@pytest.fixture
def path(s3: SeaweedServer) -> Iterator[TcpForwarder]:
    with TcpForwarder(("127.0.0.1", s3.port)) as forwarder:
        yield forwarder


@pytest.fixture
def far(ingestion: Ingestion, s3: SeaweedServer, ingest_settings: Settings, path: TcpForwarder) -> Ingestion:
    """The same, with the store behind a path that can be broken."""
    change = {"s3_endpoint": f"http://127.0.0.1:{path.port}", "s3_read_timeout_seconds": 0.5}
    return Ingestion(ingestion.database, s3, ingest_settings.model_copy(update=change))


def outcomes(ingestion: Ingestion) -> list[tuple[str, str]]:
    return [
        (state, (error or {}).get("reason", ""))
        for state, error in ingestion.rows("SELECT state, error FROM ingest_files ORDER BY id")
    ]


def test_a_download_that_is_cut_off_is_tried_again(
    far: Ingestion, path: TcpForwarder, s3: SeaweedServer, day: str
) -> None:
    key = f"acme/{day}/findings.csv"
    far.hear_of(key, s3.put_csv(key, ROWS, HEADER))
    path.answer_bytes_max = 20_000
    far.work()
    assert far.rows("SELECT state, error ->> 'reason' FROM jobs") == [("queued", "truncated")]
    assert far.content("findings") == {}
    path.answer_bytes_max = None
    far.work_until_idle()
    assert outcomes(far) == [("loaded", "")]
    assert len(far.content("findings")) == 5000


@pytest.mark.parametrize(
    "broken",
    [
        (PathState.REFUSE, "refused"),
        (PathState.CLOSE, "connection_lost"),
        (PathState.BLACK_HOLE, "timeout"),
    ],
    ids=lambda broken: broken[1],
)
def test_a_store_that_cannot_be_reached_leaves_a_dead_letter_that_can_be_revived(
    far: Ingestion, path: TcpForwarder, s3: SeaweedServer, day: str, broken: tuple[PathState, str]
) -> None:
    state, reason = broken
    key = f"acme/{day}/findings.csv"
    far.hear_of(key, s3.put_csv(key, ROWS[:3], HEADER))
    path.set_state(state)
    far.work_until_idle()
    far.watch.run_once()
    assert outcomes(far) == [("dead", reason)]
    path.set_state(PathState.PASS)
    far.load(day)
    assert outcomes(far) == [("loaded", "")]


def test_a_store_that_refuses_the_credentials_says_so(
    ingestion: Ingestion, s3: SeaweedServer, ingest_settings: Settings, day: str
) -> None:
    wrong = s3.home / "wrong"
    wrong.write_text("wrong")
    change = {"s3_secret_key_file": wrong}
    stranger = Ingestion(ingestion.database, s3, ingest_settings.model_copy(update=change))
    key = f"acme/{day}/findings.csv"
    stranger.hear_of(key, s3.put_csv(key, ROWS[:3], HEADER))
    stranger.work_until_idle()
    [(state, reason, message)] = ingestion.rows(
        "SELECT state, error ->> 'reason', error ->> 'message' FROM jobs"
    )
    assert (state, reason) == ("dead", "http_403")
    assert "wrong" not in message


def test_a_full_disk_is_no_reason_to_put_a_file_aside(
    ingestion: Ingestion, s3: SeaweedServer, ingest_settings: Settings, day: str
) -> None:
    change = {"ingest_temp_dir": s3.home / "not-there"}
    full = Ingestion(ingestion.database, s3, ingest_settings.model_copy(update=change))
    key = f"acme/{day}/findings.csv"
    full.hear_of(key, s3.put_csv(key, ROWS[:3], HEADER))
    full.work()
    assert ingestion.rows("SELECT state, error ->> 'reason' FROM jobs") == [("queued", "temp_dir")]


def test_two_files_of_a_dataset_that_share_keys_do_not_deadlock(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    s3.put_csv(f"acme/{day}/findings.1.csv", ROWS, HEADER)
    s3.put_csv(f"acme/{day}/findings.2.csv", list(reversed(ROWS)), HEADER)
    ingestion.populate(day=day)
    ingestion.work()
    assert set(ingestion.states().values()) == {"loaded"}
    assert ingestion.rows("SELECT count(*), sum(attempt) FROM jobs WHERE source_type = 'ingest_file'") == [
        (2, 2)
    ]
    assert len(ingestion.content("findings")) == 5000


def test_a_cancelled_job_leaves_the_file_for_another_day(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    key = f"acme/{day}/findings.csv"
    ingestion.hear_of(key, s3.put_csv(key, ROWS[:3], HEADER))
    ingestion.rows("UPDATE jobs SET state = 'cancelled' RETURNING 1")
    ingestion.watch.run_once()
    page = ingestion.service.files(client_id=CLIENT, state=FileState.DEAD, day=None, before=None, limit=10)
    assert [one.error.reason for one in page.files if one.error] == ["cancelled"]
    ingestion.load(day)
    assert outcomes(ingestion) == [("loaded", "")]


@pytest.mark.parametrize(
    "case",
    [
        ("SELECT pg_advisory_xact_lock(hashtextextended('acme/findings', 20251))", "dataset_busy", 0),
        ("LOCK TABLE ingested_rows IN EXCLUSIVE MODE", "load_timeout", 1),
    ],
    ids=lambda case: case[1],
)
def test_a_load_that_is_too_slow_is_told_from_a_database_that_is_away(
    ingestion: Ingestion, day: str, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, int]
) -> None:
    held, reason, attempts = case
    monkeypatch.setattr("app.ingest.load.LOCK_TIMEOUT_MS", 200 if reason == "dataset_busy" else 10_000)
    settings = ingestion.settings.model_copy(update={"ingest_deadline_seconds": 1.0})
    hasty = Ingestion(ingestion.database, ingestion.s3, settings)
    key = f"acme/{day}/findings.csv"
    hasty.hear_of(key, ingestion.s3.put_csv(key, ROWS[:3], HEADER))
    with ingestion.database.transaction() as connection:
        connection.execute(text(held))
        assert hasty.work() == 1
    job = "SELECT state, error ->> 'reason', attempt - rescues FROM jobs"
    assert hasty.rows(job) == [("queued", reason, attempts)]
    hasty.rows("UPDATE jobs SET run_at = now() RETURNING 1")
    hasty.work_until_idle()
    assert outcomes(hasty) == [("loaded", "")]
