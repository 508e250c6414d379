from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.config import ROOT

# Stands for lab: ends with the code it is given, or heals for a while after Ctrl-C.
LAB = """
import os, pathlib, signal, sys, time

if sys.argv[1] == "exit":
    sys.exit(int(sys.argv[2]))
interrupts = []
def on_interrupt(number, frame):
    interrupts.append(number)
signal.signal(signal.SIGINT, on_interrupt)
signal.signal(signal.SIGTERM, on_interrupt)
print("ready", flush=True)
deadline = time.monotonic() + 30
while not interrupts and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.3)  # healing; a second interrupt would be counted
print(f"healed after {len(interrupts)} of {interrupts[0]}", flush=True)
sys.exit(130)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    package = tmp_path / "chaos" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent):  # a real package, or the installed one would win
        (folder / "__init__.py").write_text("")
    (package / "__main__.py").write_text(LAB)
    (package / "main.py").write_text("")
    return tmp_path


def start(lab: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["env", f"PYTHONPATH={lab}", sys.executable, str(ROOT / "scripts" / "verdict.py"), *arguments],
        cwd=lab,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(0, "PASS"), (1, "FAIL"), (2, "USAGE"), (3, "ERROR"), (130, "INTERRUPTED"), (42, "ERROR")],
)
def test_the_exit_code_is_printed_last_and_passed_on(lab: Path, code: int, verdict: str) -> None:
    process = start(lab, "exit", str(code))
    output, _ = process.communicate(timeout=30)
    assert (output.splitlines()[-1], process.returncode) == (f"verdict={verdict} exit={code}", code)


def test_a_lab_that_cannot_even_be_imported_is_no_fail(lab: Path) -> None:
    (lab / "chaos" / "cli" / "main.py").write_text("import no_such_module\n")
    (lab / "chaos" / "cli" / "__main__.py").write_text("import chaos.cli.main\n")
    process = start(lab, "drill", "3")
    output, _ = process.communicate(timeout=30)
    assert output.splitlines()[-1] == "verdict=ERROR exit=3"


def test_ctrl_c_reaches_lab_once_and_its_healing_is_waited_for(lab: Path) -> None:
    process = start(lab, "drill", "3")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
    output, _ = process.communicate(timeout=30)
    assert output.splitlines() == ["healed after 1 of 2", "verdict=INTERRUPTED exit=130"]


def test_an_ending_asked_of_the_wrapper_is_passed_on(lab: Path) -> None:
    process = start(lab, "drill", "3")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert output.splitlines() == ["healed after 1 of 15", "verdict=INTERRUPTED exit=130"]


def test_a_lab_that_is_killed_is_an_error(lab: Path) -> None:
    (lab / "chaos" / "cli" / "__main__.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    started = time.monotonic()
    process = start(lab, "drill", "3")
    output, _ = process.communicate(timeout=30)
    assert output.splitlines()[-1] == "verdict=ERROR exit=137"
    assert time.monotonic() - started < 30
