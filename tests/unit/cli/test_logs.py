"""What `lab logs` shows to a person who should find the cause alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.cli import main as cli


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LAB_STATE_ROOT", str(tmp_path))
    monkeypatch.setenv("LAB_ID", "unit")
    folder = tmp_path / "unit" / "logs"
    folder.mkdir(parents=True)
    return folder


def test_all_logs_are_those_without_the_lab_s_own_devices(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("api-1", "toxiproxy-service", "toxiproxy-monitoring", "guardian"):
        (logs / f"{name}.log").write_text(f"{name} says\n")
    assert cli.main(["logs"]) == 0
    assert capsys.readouterr().out == "api-1 | api-1 says\n"
    assert cli.main(["logs", "toxiproxy-service"]) == 0
    assert capsys.readouterr().out == "toxiproxy-service says\n"
    assert cli.main(["logs", "guardian"]) == 0
    assert capsys.readouterr().out == "guardian says\n"


def test_with_nothing_but_devices_nothing_is_shown(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (logs / "guardian.log").write_text("x\n")
    assert cli.main(["logs"]) == 0
    assert capsys.readouterr().out == ""
