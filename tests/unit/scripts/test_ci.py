from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chaos.config import ROOT

SUMMARY = "5 passed, 0 failed, 1 skipped"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    root = tmp_path / "a clone"
    (root / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", root / ".ci" / "run")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "chromium").write_text("#!/bin/sh\n")  # or the script would install one
    (programs / "chromium").chmod(0o755)
    return root


def run(clone: Path, recipe: str) -> tuple[int, str]:
    (clone / "Makefile").write_text(f"test:\n\t@{recipe}\n")
    finished = subprocess.run(
        ["env", "-u", "MAKEFLAGS", f"PATH={clone.parent / 'bin'}:/usr/bin:/bin", str(clone / ".ci" / "run")],
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    )  # fmt: skip
    return finished.returncode, finished.stdout.splitlines()[-1]


def test_it_ends_with_the_summary_of_the_test_command(clone: Path) -> None:
    assert run(clone, f"echo '{SUMMARY}'") == (0, SUMMARY)


def test_a_failure_keeps_its_status_and_the_summary_stays_last(clone: Path) -> None:
    assert run(clone, f"echo '{SUMMARY}'; exit 1") == (2, SUMMARY)


def test_a_test_command_that_dies_is_a_failure_in_the_summary(clone: Path) -> None:
    assert run(clone, "exit 3") == (2, "0 passed, 1 failed, 0 skipped")
