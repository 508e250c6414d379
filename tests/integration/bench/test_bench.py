"""The benchmark itself, small: it counts in the database, and says it when a ratio is short."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.jobs.contestants import Celery
from bench.jobs.heat import Heat
from bench.plan import Plan
from bench.processes import BenchError, Programs
from bench.servers import PLAIN, Servers, servers
from chaos.config import ROOT

SECONDS_MAX = 110


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", "--rounds", "1", "--quick", *arguments],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX,
    )  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with servers() as running:
        yield running


def test_a_short_ratio_is_told_by_the_exit_code_and_in_the_figures(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    finished = bench(
        "--only", "jobs", "--against-self", "--jobs", "200", "--handicap-ms", "40", "--out", str(out)
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "SHORT Jobs per second" in finished.stdout
    jobs = json.loads(out.read_text())["sections"]["jobs"]
    # 4 threads that wait 40 ms for each job cannot do more than 100 in a second.
    assert jobs["rounds"]["jobs_per_second/ours"][0] < 100
    assert jobs["judgements"][0]["ratio"]["median"] < 1


def test_an_unknown_section_is_refused() -> None:
    finished = bench("--only", "jobs,speed")
    assert finished.returncode == 2
    assert "not speed" in finished.stderr


@pytest.mark.parametrize(
    ("numbers", "size", "told"),
    [
        ([0, 1, 2], 1024, ""),
        ([0, 1], 1024, "3 jobs left 2 rows; missing 1"),
        ([0, 1, 2, 2], 1024, "3 jobs left 4 rows; missing 0"),
        ([0, 1, 3], 1024, "missing 1, foreign 1"),
        ([0, 1, 2], 100, "less than 1024 bytes"),
    ],
)
def test_rows_are_counted_in_the_database(
    running: Servers, tmp_path: Path, numbers: list[int], size: int, told: str
) -> None:
    contestant = Celery(running, Plan(), "threads")
    running.postgres.execute(contestant.ledger.empty, PLAIN)
    rows = ", ".join(
        f"(gen_random_uuid(), 0, jsonb_build_object('number', {number}, 'filling', repeat('x', {size})))"
        for number in numbers
    )
    running.postgres.execute(f"INSERT INTO rows VALUES {rows}", PLAIN)  # noqa: S608
    heat = Heat(contestant, running, Programs(tmp_path), tmp_path)
    if told:
        with pytest.raises(BenchError, match=told):
            heat.commits(0, 3)
    else:
        assert set(heat.commits(0, 3)) == {0, 1, 2}
