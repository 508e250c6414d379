"""The ``s3`` source: what a client may read, and how much of it."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from app.objectstore.client import ObjectStore, StoreTarget
from app.settings import Settings
from app.sources import RECORDS_MAX, SourceError, SourceRefusedError
from app.sources.catalogue import catalogue
from app.sources.s3 import S3Config, S3Source
from tests.support.seaweed import SeaweedServer


@pytest.fixture
def source(ingest_settings: Settings) -> S3Source:
    return catalogue(ingest_settings).s3


def collected(source: S3Source, client: str = "acme", **config: str) -> list[object]:
    return list(source.collect(S3Config(**config), client_id=client))


def reason(source: S3Source, **config: str) -> str:
    with pytest.raises(SourceError) as caught:
        collected(source, **config)
    return caught.value.reason


def test_objects_are_read_by_key_and_by_prefix(source: S3Source, s3: SeaweedServer, day: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inner.csv", "id\n4\n")
    s3.put(f"acme/{day}/a.csv", "id,name\n1,é\n")
    s3.put(f"acme/{day}/b.jsonl.gz", gzip.compress(b'{"id": 2}\n{"id": 3}\n'))
    s3.put(f"acme/{day}/c.zip", archive.getvalue())
    s3.put(f"acme/{day}/notes.txt", "not collected")
    assert collected(source, key=f"{day}/a.csv") == [{"id": "1", "name": "é"}]
    everything = [{"id": "1", "name": "é"}, {"id": 2}, {"id": 3}, {"id": "4"}]
    assert collected(source, prefix=f"{day}/") == everything


def test_nobody_reads_what_is_another_clients(source: S3Source, s3: SeaweedServer, day: str) -> None:
    s3.put(f"globex/{day}/a.csv", "id\n1\n")
    for key in (f"{day}/a.csv", f"../globex/{day}/a.csv", f"/globex/{day}/a.csv", f"globex/{day}/a.csv"):
        assert reason(source, key=key) in ("not_found", "http_400", "http_403")
    assert collected(source, prefix="../globex/") == []
    assert collected(source, client="globex", key=f"{day}/a.csv") == [{"id": "1"}]


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("large.csv", b"id\n" + b"x" * 17_000_000, "too_much"),
        ("bomb.jsonl.gz", gzip.compress(b" " * 40_000_000), "too_much"),
        ("rows.csv", b"id\n" + b"1\n" * (RECORDS_MAX + 1), "too_much"),
        ("cut.csv.gz", gzip.compress(b"id\n1\n")[:-4], "malformed"),
        ("bad.csv", b"id\n1,2\n", "malformed"),
        ("latin.csv", b"id\n\xe9\n", "not_utf8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_too_much_and_malformed_objects_end_the_job(
    source: S3Source, s3: SeaweedServer, name: str, body: bytes, expected: str
) -> None:
    s3.put(f"acme/odd/{name}", body)
    assert reason(source, key=f"odd/{name}") == expected


def test_all_objects_of_a_job_share_one_limit_of_time(
    ingest_settings: Settings, s3: SeaweedServer, day: str
) -> None:
    for number in range(20):
        s3.put(f"acme/{day}/timed/{number}.csv", "id\n1\n")
    target = StoreTarget.of(ingest_settings)
    assert target is not None
    source = S3Source(ObjectStore(target), seconds_max=0.005)  # less than twenty answers take
    with pytest.raises(SourceError) as caught:
        collected(source, prefix=f"{day}/timed/")
    assert (caught.value.reason, caught.value.outcome, caught.value.retryable) == ("timeout", "timeout", True)


def test_other_kinds_of_objects_are_refused(source: S3Source) -> None:
    with pytest.raises(SourceRefusedError):
        source.check(S3Config(key="a.exe"))
    with pytest.raises(SourceRefusedError):
        S3Source(None).check(S3Config(key="a.csv"))
