"""What `lab status` says of a run, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from chaos.adapters.runstore import RunStore
from chaos.cli import main as cli
from chaos.cli import status
from chaos.config import LabConfig
from chaos.domain.journal import ActiveRun, ProcessRef
from chaos.stacks.embedded import identity
from chaos.stacks.embedded.inspection import ProgramState
from chaos.stacks.embedded.stack import EmbeddedStack

Begin = Callable[..., None]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Begin:
    """Record a run as active, held by this process or by one that is gone."""
    monkeypatch.setenv("LAB_STATE_ROOT", str(tmp_path))
    monkeypatch.setenv("LAB_ID", "unit")
    own = ProcessRef(os.getpid(), psutil.Process().create_time())
    gone = ProcessRef(os.getpid(), 1.0)

    def record(*, held: bool, lives: bool = True) -> None:
        state_dir = tmp_path / "unit"
        state_dir.mkdir()
        RunStore(state_dir).set_active(
            ActiveRun(
                run_id="r1",
                mode="scenario",
                scenario="03-connection-refused",
                variant="wrong-port",
                seed=7,
                started_unix=time.time(),
                held=held,
                deadline_unix=time.time() + 600,
                runner=own if lives else gone,
                guardian=None,
            )
        )

    return record


def test_the_cause_of_a_run_is_shown_only_when_asked_for(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(held=True)
    cli.main(["status"])
    told = capsys.readouterr().out
    assert "run active: yes, scenario 03-connection-refused" in told
    assert "held until" in told
    assert "wrong-port" not in told
    cli.main(["status", "--json"])
    told = capsys.readouterr().out
    assert json.loads(told)["run"]["held"] is True
    assert "wrong-port" not in told
    cli.main(["status", "--reveal"])
    assert "variant wrong-port" in capsys.readouterr().out


def test_a_run_whose_processes_are_gone_is_told_with_the_remedy(
    begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(held=False, lives=False)
    cli.main(["status"])
    assert "end it with `lab heal`" in capsys.readouterr().out


def _program(name: str, state: str, expected: str = "RUNNING", detail: str = "") -> ProgramState:
    pid = 1 if state == "RUNNING" else None
    return ProgramState(name, state, expected, pid, 1.0, None, None, None, detail)


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Let a lab have these programs; everything that needs a running one is left out."""
    monkeypatch.setenv("LAB_STATE_ROOT", str(tmp_path))
    monkeypatch.setenv("LAB_ID", "unit")

    def have(*programs: ProgramState) -> None:
        identity.establish(LabConfig())
        monkeypatch.setattr(EmbeddedStack, "programs", lambda _: list(programs))
        monkeypatch.setattr(EmbeddedStack, "is_running", lambda _: True)
        monkeypatch.setattr(EmbeddedStack, "missing", lambda _: {})
        monkeypatch.setattr(status, "_alerts", lambda _: [])
        monkeypatch.setattr(
            status, "_service", lambda _: {"url": "http://x", "database_away": {}, "key_file": "/k"}
        )

    return have


@pytest.mark.parametrize("state", ["RUNNING", "STOPPED", "EXITED"])
def test_a_tool_that_nothing_starts_is_judged_only_when_asked_for(
    show: Callable[..., None], capsys: pytest.CaptureFixture[str], state: str
) -> None:
    show(_program("api-1", "RUNNING"), _program("reporting", state, "STOPPED", "exit status 1"))
    assert cli.main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["healthy"]
    shown = next(program for program in told["programs"] if program["name"] == "reporting")
    assert (shown["state"], shown["expected_state"], shown["detail"]) == (state, state, "")
    assert cli.main(["status"]) == 0
    capsys.readouterr()
    assert cli.main(["status", "--reveal", "--json"]) == 3
    revealed = json.loads(capsys.readouterr().out)["programs"]
    assert [program["expected_state"] for program in revealed] == ["RUNNING", "STOPPED"]


def test_a_daemon_that_should_run_is_judged_always(show: Callable[..., None]) -> None:
    show(_program("api-1", "STOPPED"))
    assert cli.main(["status"]) == 3
