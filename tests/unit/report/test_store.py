from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaos.cli.report import command
from chaos.engine.report import (
    ReportNotFoundError,
    ReportUnreadableError,
    find_report,
    read_report,
    report_directory,
    to_json,
    write_reports,
)
from tests.support import report_samples as samples


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_STATE_ROOT", str(tmp_path))
    monkeypatch.setenv("LAB_ID", "reports")
    return tmp_path / "reports"


def keep(state_dir: Path, age_seconds: float = 0.0) -> Path:
    """Keep a report of the refused connection that is this old."""
    result = samples.mixed()
    result = dataclasses.replace(result, started_unix=result.started_unix - age_seconds)
    path = write_reports(result, report_directory(state_dir, result))["json"]
    os.utime(path, (result.started_unix, result.started_unix))
    return path


def test_three_files_and_nothing_else(tmp_path: Path) -> None:
    written = write_reports(samples.passing(), tmp_path / "new" / "folder")
    assert {kind: path.name for kind, path in written.items()} == {
        "json": "report.json",
        "junit": "report.junit.xml",
        "html": "report.html",
    }
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        path.name for path in written.values()
    )
    assert read_report(written["json"]) == samples.passing()
    assert {path.stat().st_mode & 0o777 for path in written.values()} == {0o644}


def test_hostile_text_can_be_written(tmp_path: Path) -> None:
    hostile = dataclasses.replace(samples.hostile(), symptom="\ud800 lone surrogate")
    written = write_reports(hostile, tmp_path)
    assert read_report(written["json"]).title == hostile.title


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reports(samples.passing(), tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_reports(samples.mixed(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert read_report(tmp_path / "report.json") == samples.passing()


def test_the_folder_is_named_by_time_and_scenario(tmp_path: Path) -> None:
    assert (
        report_directory(tmp_path, samples.passing()) == tmp_path / "reports" / "20251122T074200Z-scenario-3"
    )
    odd = dataclasses.replace(samples.passing(), scenario="../../etc")
    assert report_directory(tmp_path, odd).parent == tmp_path / "reports"


def test_a_report_is_found_by_age_folder_file_and_run(state_dir: Path) -> None:
    older, newer = keep(state_dir, 3600), keep(state_dir)
    assert find_report(state_dir, None) == newer
    for wanted in (str(older), str(older.parent), older.parent.name):
        assert find_report(state_dir, wanted) == older
    run_id = samples.mixed().variants[2].run_id
    assert find_report(state_dir, run_id) == newer


def test_one_damaged_report_does_not_hide_the_others(state_dir: Path) -> None:
    good = keep(state_dir, 60)
    keep(state_dir).write_text("{")
    assert find_report(state_dir, samples.mixed().variants[0].run_id) == good


def test_no_report_is_said_as_such(state_dir: Path) -> None:
    with pytest.raises(ReportNotFoundError, match="no report yet"):
        find_report(state_dir, None)
    with pytest.raises(ReportNotFoundError, match="'nothing'"):
        find_report(state_dir, "nothing")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ReportUnreadableError, match=r"report\.json"):
        read_report(path)


def test_the_command_draws_the_newest_and_exits_0_whatever_its_verdict(state_dir: Path) -> None:
    keep(state_dir)
    done = CliRunner().invoke(command, [])
    assert done.exit_code == 0
    assert done.output.splitlines()[-1].startswith("ERROR scenario 3")
    assert "\x1b" not in done.output


def test_the_command_prints_json_and_writes_the_page(state_dir: Path, tmp_path: Path) -> None:
    path = keep(state_dir)
    page = tmp_path / "page.html"
    done = CliRunner().invoke(command, [str(path), "--json", "--html", str(page)])
    assert done.exit_code == 0
    assert done.output == to_json(read_report(path))
    assert json.loads(done.output)["schema"] == "firedrill-report/v1"
    assert page.read_text().startswith("<!doctype html>")


def test_the_command_tells_not_found_from_unreadable(state_dir: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(command, []).exit_code == 2
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    done = CliRunner().invoke(command, [str(broken)])
    assert done.exit_code == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.output
    done = CliRunner().invoke(command, [str(keep(state_dir)), "--html", str(tmp_path / "no" / "page.html")])
    assert done.exit_code == 3
    assert "cannot be written" in done.stderr
