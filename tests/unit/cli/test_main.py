"""The command as a program: exit codes and what a person reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from chaos.cli import main as cli
from chaos.errors import DiskFullError, UsageError


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAB_STATE_ROOT", str(tmp_path))
    monkeypatch.setenv("LAB_ID", "unit")


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Run ``lab act`` with a body of the test's choice."""

    def run(body: Callable[[], object]) -> int:
        command = click.Command("act", callback=body)
        monkeypatch.setattr(cli.lab, "get_command", lambda _context, name: command if name == "act" else None)
        return cli.main(["act"])

    return run


def _raise(error: BaseException) -> Callable[[], object]:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lambda: None, 0),
        (lambda: click.get_current_context().exit(1), 1),
        (_raise(SystemExit(1)), 1),
        (_raise(UsageError("no such thing")), 2),
        (_raise(click.BadParameter("no such thing")), 2),
        (_raise(DiskFullError()), 3),
        (_raise(RuntimeError("boom")), 3),
        (_raise(KeyboardInterrupt()), 130),
        (_raise(click.Abort()), 130),
    ],
)
def test_every_end_has_its_exit_code(
    act: Callable[[Callable[[], object]], int], body: Callable[[], object], code: int
) -> None:
    assert act(body) == code


def test_an_error_of_the_lab_is_one_line_without_a_traceback(
    act: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    act(_raise(DiskFullError("3 MiB are left. Free some.")))
    assert capsys.readouterr().err == "error: 3 MiB are left. Free some.\n"


def test_a_defect_leaves_a_log_to_paste(
    act: Callable[[Callable[[], object]], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "unit" / "logs").mkdir(parents=True)
    act(_raise(RuntimeError("boom")))
    told = capsys.readouterr().err
    assert "unexpected RuntimeError: boom" in told
    (log,) = (tmp_path / "unit" / "logs").glob("lab-crash-*.log")
    assert str(log) in told
    assert "raise error" in log.read_text()


def test_wrong_settings_are_usage_and_all_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_ID", "No Good")
    monkeypatch.setenv("LAB_PORT_BASE", "80")
    assert cli.main(["status"]) == 2
    told = capsys.readouterr().err
    assert "LAB_ID='No Good'" in told
    assert "LAB_PORT_BASE='80'" in told


def test_an_unknown_command_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dance"]) == 2
    assert "No such command 'dance'" in capsys.readouterr().err


def test_commands_are_found_by_their_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    for name in ("up", "down", "status", "logs"):
        assert f"\n  {name} " in told


def test_logs_of_a_lab_that_never_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs"]) == 2
    assert "lab up" in capsys.readouterr().err


def test_logs_show_the_last_lines_of_one_or_of_all(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    logs = tmp_path / "unit" / "logs"
    logs.mkdir(parents=True)
    (logs / "redis.log").write_text("one\ntwo\n")
    (logs / "api-1.log").write_text("three\n")
    assert cli.main(["logs", "redis", "-n", "1"]) == 0
    assert capsys.readouterr().out == "two\n"
    assert cli.main(["logs"]) == 0
    assert capsys.readouterr().out == "api-1 | three\nredis | one\nredis | two\n"
    assert cli.main(["logs", "../../etc/passwd"]) == 2


def test_status_of_a_lab_that_never_ran_allocates_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["status"]) == 3
    assert "lab unit is not running" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_down_of_a_lab_that_never_ran_is_harmless(tmp_path: Path) -> None:
    assert cli.main(["down"]) == 0
    assert list(tmp_path.iterdir()) == []
