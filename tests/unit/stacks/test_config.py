"""Settings mean the same in every process of a lab, wherever it was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from chaos.adapters.guardian import find_process, process_ref
from chaos.config import CLOCK_SLACK_SECONDS, ROOT, LabConfig, path_environment
from chaos.domain.journal import ProcessRef

PATHS = ("state_root", "cache_dir", "observability_dir", "scenarios_dir")


@pytest.mark.parametrize("name", PATHS)
def test_a_relative_folder_is_below_where_the_command_was_given(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(f"LAB_{name.upper()}", "../labs")
    assert getattr(LabConfig(), name) == tmp_path / "labs"


def test_a_process_in_another_folder_is_told_the_same_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_STATE_ROOT", "labs")
    code = "from chaos.config import LabConfig; print(LabConfig().state_root)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | path_environment(),
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(tmp_path / "labs")


def test_the_name_of_the_port_claims_is_no_lab() -> None:
    with pytest.raises(ValidationError, match="choose another"):
        LabConfig(id="ports")


def test_a_process_is_found_although_the_clock_was_set_and_a_later_one_is_not() -> None:
    own = process_ref(os.getpid())
    moved = ProcessRef(own.pid, own.create_time + CLOCK_SLACK_SECONDS * 0.8)
    assert find_process(moved) == psutil.Process()
    assert find_process(ProcessRef(own.pid, own.create_time - CLOCK_SLACK_SECONDS * 1.2)) is None
    assert find_process(None) is None
