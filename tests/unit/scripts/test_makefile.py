from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chaos.config import ROOT

STACK_TARGETS = ("up", "down", "status", "logs", "heal", "doctor", "scenario-N", "fix-N", "drill-N")
TARGETS = (*STACK_TARGETS, "bench", "test", "test-full", "setup", "lint", "clean", "help")


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", *arguments],
        check=False, capture_output=True, text=True, timeout=60, cwd=cwd,
    )  # fmt: skip


def test_make_alone_shows_every_target() -> None:
    shown = make().stdout
    assert [target for target in TARGETS if f"  make {target} " not in shown] == []


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["drill-3"], "scripts/verdict.py drill '3'"),
        (["drill-3", "VARIANT=all", "SEED=7"], "scripts/verdict.py drill '3' --variant 'all' --seed '7'"),
        (["drill-3", "KEEP=1"], "--keep"),
        (["scenario-3", "HOLD=5m", "VARIANT=wrong-port"], "scenario '3' --variant 'wrong-port'  --hold '5m'"),
        (["fix-3"], "scripts/verdict.py fix '3'"),
        (["logs", "NAME=api-1"], "chaos.cli logs 'api-1'"),
        (["test"], "scripts/run_tests.py"),
        (["test-full"], "scripts/run_tests.py --full"),
        (["bench", "ROUNDS=1", "ONLY=jobs"], "-m bench --rounds '1' --only 'jobs'"),
    ],
)
def test_variables_reach_the_command(arguments: list[str], command: str) -> None:
    planned = make("-n", *arguments).stdout
    assert command.split() == [word for word in command.split() if word in planned.split()]


def test_set_up_that_fails_is_a_verdict_too(tmp_path: Path) -> None:
    checkout = tmp_path / "fire drill"
    checkout.mkdir()
    shutil.copy(ROOT / "Makefile", checkout)
    (checkout / "scripts").mkdir()
    (checkout / "scripts" / "bootstrap.sh").write_text("echo no Python >&2\nexit 3\n")
    finished = make("drill-3", cwd=checkout)
    assert finished.stdout.splitlines()[-1] == "verdict=ERROR exit=3"
    assert finished.returncode == 2


def test_a_machine_without_a_python_that_is_new_enough_is_told_so(tmp_path: Path) -> None:
    checkout, programs = tmp_path / "fire drill", tmp_path / "bin"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "bootstrap.sh", checkout / "scripts")
    programs.mkdir()
    for name in ("sh", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    old = programs / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # answers as Python 3.10 would to the question asked
    old.chmod(0o755)
    finished = subprocess.run(
        [str(programs / "sh"), "scripts/bootstrap.sh", "runtime"],
        check=False, capture_output=True, text=True, timeout=30, cwd=checkout, env={"PATH": str(programs)},
    )  # fmt: skip
    assert finished.returncode == 3
    assert "no Python 3.11 or later on PATH" in finished.stderr
