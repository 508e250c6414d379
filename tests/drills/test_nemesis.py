"""The nemesis end to end: a short run is judged, and one that is killed leaves nothing broken."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from chaos.adapters.guardian import find_process
from chaos.domain.journal import Phase
from chaos.ledger.history import read_history
from tests.support.lab import Lab, eventually

pytestmark = [pytest.mark.stack, pytest.mark.full, pytest.mark.timeout(600)]

SHORT = ("nemesis", "--seed", "3", "--minutes", "0.4", "--jobs-min", "60")
BEGUN_SECONDS_MAX = 120.0
HEALED_SECONDS_MAX = 120.0


def newest_run(lab: Lab) -> Path:
    return max(lab.config.state_dir.glob("reports/*-nemesis-*"))


def test_a_short_run_passes_and_its_report_says_what_it_covered(lab: Lab) -> None:
    cells = "kill:worker-1,pause:worker-2,latency:postgres,reset_peer:redis,flushall:redis"
    done = lab.run(*SHORT, "--only", cells, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "PASS"
    assert {finding["check"] for finding in report["findings"]} >= {"C1", "C2", "C3", "C4", "C5", "C6", "C9"}
    assert report["jobs"] >= 60
    assert report["missing"] == []
    assert report["partial"].startswith("only kill:worker-1")
    history = list(read_history(newest_run(lab) / "history.jsonl"))
    live = {entry.detail["cell"] for entry in history if entry.act == "live"}
    assert live >= set(cells.split(","))
    assert lab.left_over(lab.baseline()) == []


def begin(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    """Start a nemesis and return once a fault is live."""
    known = set(lab.config.state_dir.glob("reports/*-nemesis-*"))
    process = lab.start(*arguments)

    def live() -> bool:
        assert process.poll() is None, process.communicate()[0]
        histories = [
            folder / "history.jsonl"
            for folder in set(lab.config.state_dir.glob("reports/*-nemesis-*")) - known
        ]
        return any(path.exists() and '"act":"live"' in path.read_text() for path in histories)

    eventually(live, BEGUN_SECONDS_MAX, "a fault is live")
    return process


@pytest.mark.parametrize("guarded", [True, False])
def test_a_nemesis_that_is_killed_is_healed(lab: Lab, *, guarded: bool) -> None:
    before = lab.baseline()
    process = begin(lab, "nemesis", "--seed", "3", "--minutes", "2", "--only", "timeout:postgres,down:redis")
    active = lab.runs.active()
    assert active is not None
    guardian = find_process(active.guardian)
    assert guardian is not None
    if not guarded:
        guardian.kill()
    process.kill()
    process.communicate()
    eventually(lambda: not lab.runs.is_locked(), HEALED_SECONDS_MAX, "the lab's lock is free")
    assert (lab.runs.active() is None) is guarded
    healed = lab.run("heal")
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert lab.left_over(before) == []
    assert lab.runs.active() is None


def test_ctrl_c_heals(lab: Lab) -> None:
    before = lab.baseline()
    process = lab.start("nemesis", "--seed", "3", "--minutes", "2", "--jobs-min", "60")
    eventually(lambda: Phase.INJECTING in lab.phases() or None, BEGUN_SECONDS_MAX, "it has begun")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=HEALED_SECONDS_MAX)
    assert process.returncode == 130, said
    assert lab.left_over(before) == []
