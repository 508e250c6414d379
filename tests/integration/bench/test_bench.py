"""The benchmark itself, small: it counts in the database, and says it when a ratio is short."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.documents.report import Report
from bench.documents.writing import DOCS, STORED, rendered
from bench.jobs.contestants import Celery
from bench.jobs.heat import Heat
from bench.plan import SECTIONS, Plan
from bench.processes import BenchError, Programs
from bench.servers import PLAIN, Servers, servers
from chaos.config import ROOT
from tests.catalogue.documents import command_problems, link_problems

SECONDS_MAX = 280  # of a machine that also does other things


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX,
    )  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with servers() as running:
        yield running


@pytest.mark.full
@pytest.mark.timeout(300)
def test_every_section_is_measured_and_a_disadvantage_is_told(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    finished = bench(
        *("--quick", "--rounds", "1", "--against-self", "--jobs", "80", "--seconds", "0.4"),
        *("--handicap-ms", "100", "--out", str(out)),
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr
    report = Report.read(out)
    assert report.missing(SECTIONS) == []
    kept = {one.judgement.title: one.judgement.kept for one in report.judged()}
    assert not kept["Jobs per second against the faster"]
    assert not kept["Memory with the largest file against the smallest"]
    assert not kept["Failed calls of trigger at 8 connections"]
    assert "SHORT Jobs per second" in finished.stdout
    # 4 threads that wait 100 ms for each job cannot do more than 40 in a second.
    assert report.median("jobs", "jobs_per_second/ours") < 40
    assert report.facts("load")["answers"]["trigger/8"]["429"] > 0
    assert report.median("ingest", "rows_per_second/csv/ours") < report.facts("ingest")["rows/csv"] / 0.1

    written = bench("--render-only", "--out", str(out), "--docs", str(tmp_path / "docs"))
    assert written.returncode == 0, written.stderr
    page = (tmp_path / "docs" / "reference" / "benchmarks.md").read_text(encoding="utf-8")
    for one in report.judged():
        assert f"| {one.judgement.title} | {one.judgement.told} | {one.judgement.wanted} |" in page
    again = rendered(Report.read(tmp_path / "docs" / "reference" / "benchmarks.json"))
    for name, text in again.items():
        assert (tmp_path / "docs" / name).read_text(encoding="utf-8") == text
    for name in ("reference/benchmarks.md", "howto/capacity.md"):
        assert list(link_problems(tmp_path / "docs" / name)) == []
        assert list(command_problems(tmp_path / "docs" / name, (ROOT / "Makefile").read_text())) == []


@pytest.mark.full
@pytest.mark.timeout(300)
def test_without_a_disadvantage_nothing_fails_and_no_memory_grows(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    finished = bench("--quick", "--rounds", "1", "--only", "ingest,load", "--out", str(out))
    assert finished.returncode in (0, 1), finished.stdout + finished.stderr
    for one in Report.read(out).judged():
        assert one.judgement.kept or one.judgement.ratio_max is None, one.judgement.text()


def test_documents_that_are_kept_are_what_their_report_renders() -> None:
    kept = DOCS / STORED
    wanted = rendered(Report.read(kept)) if kept.is_file() else {}
    for name in ("reference/benchmarks.md", "reference/benchmarks.svg", "howto/capacity.md"):
        path = DOCS / name
        assert path.is_file() == (name in wanted)
        assert name not in wanted or path.read_text(encoding="utf-8") == wanted[name]


@pytest.mark.parametrize("part", [("--only", "jobs"), ("--quick",)])
def test_documents_are_not_written_about_a_part(part: Sequence[str]) -> None:
    finished = bench("--write", *part)
    assert finished.returncode == 2
    assert "--write needs every section" in finished.stderr


def test_documents_of_a_report_without_a_section_are_refused(tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text('{"sections": {"jobs": {}}}', encoding="utf-8")
    finished = bench("--render-only", "--out", str(tmp_path / "figures.json"), "--docs", str(tmp_path))
    assert finished.returncode == 3
    assert "not measured: trigger, telemetry, ingest, load" in finished.stderr


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
