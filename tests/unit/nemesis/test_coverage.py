from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from chaos.engine.nemesis.coverage import coverage

TABLE = ["a", "b", "c"]


def report(
    folder: Path, name: str, seed: int, hit: Sequence[str], *, partial: str = "", table: Sequence[str] = TABLE
) -> None:
    path = folder / f"{name}-nemesis-{seed}" / "nemesis.json"
    path.parent.mkdir()
    injections = [{"cell": cell, "why": ""} for cell in hit] + [{"cell": "c", "why": "does not show"}]
    body = {"seed": seed, "table": table, "partial": partial, "injections": injections}
    path.write_text(json.dumps(body))


def test_three_seeds_in_a_row_are_put_together(tmp_path: Path) -> None:
    for seed, cell in ((4, "a"), (5, "b"), (6, "c")):
        report(tmp_path, f"2026010{seed}", seed, [cell])
    assert str(coverage(tmp_path, 6, TABLE)) == "seeds 4, 5, 6 together have hit 3 of 3 cells"
    assert str(coverage(tmp_path, 5, TABLE)) == (
        "seeds 4, 5 together have hit 2 of 3 cells; 3 seeds in a row hit all"
    )


def test_what_was_never_hit_is_named(tmp_path: Path) -> None:
    for seed in (4, 5, 6):
        report(tmp_path, f"2026010{seed}", seed, ["a"])
    assert coverage(tmp_path, 6, TABLE).missing == ["b", "c"]
    assert str(coverage(tmp_path, 6, TABLE)).endswith("; not b, c")


def test_parts_other_tables_and_damage_do_not_count_and_the_newest_run_of_a_seed_does(tmp_path: Path) -> None:
    report(tmp_path, "20260101", 4, ["a", "b", "c"])
    report(tmp_path, "20260102", 4, ["a"])
    report(tmp_path, "20260103", 5, ["b"], partial="only b")
    report(tmp_path, "20260104", 6, ["c"], table=["c"])
    damaged = tmp_path / "20260105-nemesis-6" / "nemesis.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    found = coverage(tmp_path, 6, TABLE)
    assert (list(found.seeds), found.hit) == ([4], 1)
