from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from bench.ingest.files import COLUMNS, CSV, JSONL, KINDS, SCATTERED, Kind, make


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_file_is_as_large_as_asked_and_holds_each_key_once(tmp_path: Path, kind: Kind) -> None:
    file = make(tmp_path, kind, 3_000_000)
    text = file.path.read_text(encoding="ascii")
    assert 3_000_000 <= len(text) < 3_001_000
    rows = (
        [json.loads(line) for line in text.splitlines()]
        if kind is JSONL
        else list(csv.DictReader(text.splitlines()))
    )
    assert len(rows) == file.rows > 10_000
    assert set(rows[0]) == set(COLUMNS)
    keys = [row["id"] for row in rows]
    assert len(set(keys)) == file.rows
    assert (keys == sorted(keys)) is kind.in_order


def test_files_of_one_format_hold_the_same_but_for_their_order() -> None:
    assert CSV.header() == SCATTERED.header()
    assert CSV.row(7).partition(",")[2] == SCATTERED.row(7).partition(",")[2]
