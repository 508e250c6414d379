"""Formats, cells and cursors."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidRequestError
from app.jobs import cursor
from app.jobs.exports import Format, _written, cell, wanted_format


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("application/json, text/csv;q=0.5", Format.JSON),
        ("text/csv", Format.CSV),
        ("application/json;q=0.1, application/x-ndjson; q=0.9", Format.NDJSON),
        ("TEXT/CSV;q=0", Format.JSON),
        ("text/csv;q=abc", Format.JSON),
        (";;,,q=1;", Format.JSON),
    ],
)
def test_the_format_is_what_the_client_likes_best(accept: str, format_: Format) -> None:
    assert wanted_format(accept) is format_


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "true"),
        (-5, "-5"),
        (1.5, "1.5"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        ("＝1", "'＝1"),  # noqa: RUF001  the wide one is the point
        ({"a": [1]}, '{"a":[1]}'),
        ("plain", "plain"),
    ],
)
def test_no_cell_is_a_formula(value: object, shown: str) -> None:
    assert cell(value) == shown


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), min_size=1, max_size=5))
def test_a_table_reads_back_as_it_was_written(rows: list[list[str]]) -> None:
    assert list(csv.reader(io.StringIO(_written(rows).decode(), newline=""))) == rows


def test_a_cursor_fits_its_own_filters_only() -> None:
    moment, job_id = datetime(2026, 11, 22, 12, 30, 5, 123456, tzinfo=UTC), uuid4()
    made = cursor.encode(moment, job_id, filters="a")
    assert cursor.decode(made, filters="a") == (moment, job_id)
    with pytest.raises(InvalidRequestError) as refused:
        cursor.decode(made, filters="b")
    assert refused.value.errors[0].field == "cursor"


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60))
def test_a_strange_cursor_is_refused(strange: str) -> None:
    with pytest.raises(InvalidRequestError):
        cursor.decode(strange, filters="a")
