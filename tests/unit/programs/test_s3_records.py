"""SeaweedFS's webhooks in the words of S3, from documents as a real server sends them."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.upstreams.s3_records import GarbageError, records
from tests.support.webhooks import ETAG, created, entry, webhook


def told(document: object) -> list[tuple[str, str]]:
    return [(record["eventName"], record["s3"]["object"]["key"]) for record in records(document, "landing")]


def test_a_new_object_is_told_as_s3_would() -> None:
    [record] = records(created("acme/2026-11-27/a b+é.csv"), "landing")
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["eventTime"] == "2026-11-28T04:47:54.000Z"
    assert record["s3"]["bucket"]["name"] == "landing"
    assert record["s3"]["object"] == {"key": "acme/2026-11-27/a+b%2B%C3%A9.csv", "size": 12, "eTag": ETAG}


def test_a_replaced_object_is_a_created_one() -> None:
    folder = "/buckets/landing/acme"
    document = webhook(
        "update",
        f"{folder}/a.csv",
        old_entry=entry("a.csv"),
        new_entry=entry("a.csv"),
        new_parent_path=folder,
    )
    assert told(document) == [("ObjectCreated:Put", "acme/a.csv")]


def test_a_deleted_object_is_told_too() -> None:
    document = webhook("delete", "/buckets/landing/acme/a.csv", old_entry=entry("a.csv"))
    assert told(document) == [("ObjectRemoved:Delete", "acme/a.csv")]


def test_a_renamed_object_is_a_new_one_and_a_removed_one() -> None:
    document = webhook(
        "rename",
        "/buckets/landing/acme/a.csv",
        old_entry=entry("a.csv"),
        new_entry=entry("b.csv"),
        new_parent_path="/buckets/landing/globex",
    )
    assert told(document) == [
        ("ObjectCreated:Put", "globex/b.csv"), ("ObjectRemoved:Delete", "acme/a.csv"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        created("acme", is_directory=True),
        created(".uploads/6267_bdf9/0001_956b.part"),
        created(".versions/a.csv/1"),
        webhook("create", "/buckets/other/a.csv", new_entry=entry("a.csv"), new_parent_path="/buckets/other"),
        webhook("create", "/buckets/landing", new_entry=entry("landing"), new_parent_path="/buckets"),
        webhook("create", "/etc/x", new_entry=entry("x"), new_parent_path="/etc"),
    ],
    ids=["folder", "part of an upload", "old version", "other bucket", "the bucket", "elsewhere"],
)
def test_what_is_no_object_of_the_bucket_is_left_out(document: dict[str, Any]) -> None:
    assert records(document, "landing") == []


def test_the_etag_of_an_upload_in_parts_is_the_one_that_s3_tells() -> None:
    tag = "MmM4ODFjZGM1MTI0YzlhMmYyMGRlZDRmNzQ5MTJiZmUtMQ=="
    [record] = records(created("acme/big.csv", extended={"Seaweed-X-Amz-ETag": tag}), "landing")
    assert record["s3"]["object"]["eTag"] == "2c881cdc5124c9a2f20ded4f74912bfe-1"


@pytest.mark.parametrize("extended", [None, {}, {"Seaweed-X-Amz-ETag": "%"}, {"Seaweed-X-Amz-ETag": 7}])
def test_without_it_the_digest_is_taken_and_without_that_none(extended: object) -> None:
    [record] = records(created("acme/a.csv", extended=extended), "landing")
    assert record["s3"]["object"]["eTag"] == ETAG
    bare = {"mtime": 1795841274, "md5": "dG9vIHNob3J0"}
    [record] = records(created("acme/a.csv", extended=extended, attributes=bare), "landing")
    assert record["s3"]["object"] == {"key": "acme/a.csv", "size": 0}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {},
        {"key": "/buckets/landing/a", "message": None},
        {"key": 7, "message": {"new_entry": entry("a")}},
        {"key": "/buckets/landing/a", "message": {}},
        {"key": "/buckets/landing/a", "message": {"new_entry": []}},
        {"key": "/buckets/landing/a", "message": {"new_entry": {"attributes": []}}},
        {"key": "/buckets/landing/a", "message": {"new_entry": {"attributes": {"mtime": "soon"}}}},
        {"key": "/buckets/landing/a", "message": {"new_entry": {"attributes": {"mtime": 10**30}}}},
        {"key": "/buckets/landing/a", "message": {"new_entry": {}, "new_parent_path": "/buckets/landing"}},
        created("a" * 1025),
    ],
)
def test_garbage_is_refused(document: object) -> None:
    with pytest.raises(GarbageError):
        records(document, "landing")
