"""Rows are merged the quick way where that is right, and the slow way gives the same."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable

import pytest

from app.database.engine import Database
from app.ingest.settings import DatasetSchema, FieldType
from app.ingest.shapes import csv_shape
from app.models import FileState
from tests.support.ingest import Ingestion
from tests.support.seaweed import SeaweedServer

HEADER = "id,asset,severity"
ROWS = 12_000
"""More than are looked at before the merge, and enough pages for a sample of their order."""

PATTERNS: dict[FieldType, str] = {
    "integer": r"[+-]?[0-9]{1,18}",
    "number": r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?",
    "boolean": r"true|false",
    "date": r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])",
}
SIGNS, DIGITS = ("", "+", "-", "+-", " "), ("", "0", "7", "42", "1" * 18, "1" * 19, "٣", "x")
ODD = (
    "true",
    "false",
    "TRUE",
    "true ",
    "t",
    ".",
    "..",
    "1.2.3",
    "1e5",
    "1e",
    "1e1234",
    ".5e+7",
    "1_0",
    "0x1",
)
DATES = tuple(
    f"{year}-{month}-{day}{rest}"
    for year in ("2026", "026", "x026")
    for month in ("00", "01", "09", "12", "13", "1")
    for day in ("00", "01", "28", "31", "32", "9")
    for rest in ("", "\n", "T")
)


def row(number: int, severity: object = 3) -> str:
    return f"F-{number:06d},asset-{number},{severity}"


def put(s3: SeaweedServer, day: str, rows: Iterable[str]) -> None:
    s3.put_csv(f"acme/{day}/findings.csv", rows, HEADER)


@pytest.mark.parametrize("step", [1, 7919], ids=["in order", "in no order"])
def test_new_rows_are_all_there_whatever_their_order(
    ingestion: Ingestion, s3: SeaweedServer, day: str, step: int
) -> None:
    put(s3, day, (row(n * step % ROWS) for n in range(ROWS)))
    ingestion.load(day)
    content = ingestion.content("findings")
    assert len(content) == ROWS
    assert all(content[f"F-{n:06d}"]["asset"] == f"asset-{n}" for n in range(ROWS))
    assert ingestion.file("findings.csv").rows == ROWS


@pytest.mark.parametrize("last", [ROWS + 1, 0], ids=["known before", "twice in the file"])
def test_a_key_that_is_not_new_is_met_at_the_very_end(
    ingestion: Ingestion, s3: SeaweedServer, day: str, last: int
) -> None:
    s3.put_csv("acme/2025-05-01/findings.0.csv", [row(ROWS + 1, 1)], HEADER)
    ingestion.load("2025-05-01")
    put(s3, day, [*(row(n) for n in range(ROWS)), row(last, 9)])
    ingestion.load(day)
    content = ingestion.content("findings")
    assert len(content) == ROWS + 1
    assert content[f"F-{last:06d}"]["severity"] == "9"
    assert content["F-000001"]["severity"] == "3"


def test_of_rows_that_went_in_none_stays_when_too_many_others_are_bad(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    put(s3, day, [*(row(n) for n in range(97)), *(row(n, "high") for n in range(97, 100))])
    ingestion.load(day)
    found = ingestion.file("findings.csv")
    assert (found.status, found.rejected) == (FileState.QUARANTINED, 3)
    assert [(one.row_number, one.reason) for one in found.rejects] == [
        (number, "severity_is_no_integer") for number in (98, 99, 100)
    ]
    assert ingestion.content("findings") == {}


def test_a_few_bad_rows_are_told_of_a_file_of_new_ones(
    ingestion: Ingestion, s3: SeaweedServer, day: str
) -> None:
    put(s3, day, (row(n, "high" if n == 150 else 3) for n in range(300)))
    s3.put(f"acme/{day}/events.jsonl", b"\n\n".join(b'{"id": %d}' % n for n in range(300)) + b"\n[1]\n")
    ingestion.load(day)
    assert len(ingestion.content("findings")) == 299
    assert [one.row_number for one in ingestion.file("findings.csv").rejects] == [151]
    events = ingestion.file("events.jsonl")
    assert (events.rows, events.rejected) == (300, 1)
    assert [(one.row_number, one.reason) for one in events.rejects] == [(301, "not_an_object")]


@pytest.mark.parametrize("kind", PATTERNS)
def test_a_value_is_of_a_type_if_and_only_if_it_matches(database: Database, kind: FieldType) -> None:
    numbers = ("".join(parts) for parts in itertools.product(SIGNS, DIGITS, ("", "."), DIGITS, ("", "e-3")))
    values = sorted({*numbers, *ODD, *DATES})
    shape = csv_shape(["c", "value"], DatasetSchema(key="c", types={"value": kind}))
    with database.connection() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        with raw.cursor() as cursor:
            question = "SELECT c1, ({}) IS NULL FROM (SELECT 'k' AS c0, value #>> '{{}}' AS c1 FROM"
            question += " jsonb_array_elements(%s) AS value) AS stage"
            cursor.execute(
                question.format(shape.why.as_string(cursor)).replace("%s", "%(v)s"), {"v": json.dumps(values)}
            )
            told = dict(cursor.fetchall())
    wanted = {value: not value or re.fullmatch(PATTERNS[kind], value) is not None for value in values}
    assert told == wanted
