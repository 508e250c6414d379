"""What the traffic delivers: the same for the same seed, and never more than a fixed number of objects."""

from __future__ import annotations

import csv
import datetime as dt
import io

from chaos.traffic.landing import DAYS_BEFORE, MARKER, PARTS, ROWS, Plan, outdated

TODAY = dt.date(2026, 11, 28)
PLAN = Plan(clients=3, every_seconds=5, seed=7)


def test_the_same_seed_delivers_the_same_and_another_one_does_not() -> None:
    def turns(plan: Plan) -> list[object]:
        return [plan.at(turn, TODAY) for turn in range(40)]

    assert turns(PLAN) == turns(Plan(3, 5, 7))
    assert turns(PLAN) != turns(Plan(3, 5, 8))


def test_a_day_has_a_fixed_number_of_objects_however_long_it_takes() -> None:
    delivered = [one for turn in range(400) for one in PLAN.at(turn, TODAY)]
    assert len({one.key for one in delivered}) == 3 * (PARTS + 1)
    assert len({one.body for one in delivered if one.key.endswith("findings.0.csv")}) > 20


def test_a_marker_comes_after_every_part_of_its_client() -> None:
    seen: set[str] = set()
    for turn in range(3 * PARTS):
        for one in PLAN.at(turn, TODAY):
            folder, _, name = one.key.rpartition("/")
            if name == MARKER:
                assert sum(key.startswith(f"{folder}/findings") for key in seen) == PARTS
            seen.add(one.key)
    assert sum(key.endswith(MARKER) for key in seen) == 3


def test_a_file_holds_rows_that_the_lab_s_schema_allows() -> None:
    rows = list(csv.DictReader(io.StringIO(PLAN.part(1, TODAY, 2, 0).body.decode())))
    assert len({row["id"] for row in rows}) == ROWS
    assert all(row["asset"] and row["severity"].isdigit() for row in rows)


def test_the_days_before_are_complete_and_come_in_order() -> None:
    keys = [one.key for one in PLAN.history(TODAY)]
    days = [key.split("/")[1] for key in keys]
    assert days == sorted(days)
    assert sum(key.endswith(MARKER) for key in keys) == 3 * DAYS_BEFORE
    assert TODAY.isoformat() not in days


def test_only_what_is_older_than_those_is_deleted() -> None:
    kept = [one.key for one in PLAN.history(TODAY)]
    assert not [key for key in kept if outdated(key, TODAY)]
    assert outdated("client-01/2026-11-24/findings.0.csv", TODAY)
    assert not outdated("client-01/notes/findings.csv", TODAY)
    assert not outdated("ready", TODAY)
