"""The nemesis end to end: a short run is judged, and one that is killed leaves nothing broken."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

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


def begin(lab: Lab, *arguments: str) -> Path:
    """Start a nemesis; return its history once a fault is live."""
    known = set(lab.config.state_dir.glob("reports/*-nemesis-*"))
    process = lab.start(*arguments)

    def live() -> Path | None:
        assert process.poll() is None, process.communicate()[0]
        for folder in set(lab.config.state_dir.glob("reports/*-nemesis-*")) - known:
            history = folder / "history.jsonl"
            if history.exists() and '"act":"live"' in history.read_text():
                return history
        return None

    history = eventually(live, BEGUN_SECONDS_MAX, "a fault is live")
    process.kill()
    process.communicate()
    return history


@pytest.mark.parametrize("guarded", [True, False])
def test_a_nemesis_that_is_killed_is_healed(lab: Lab, *, guarded: bool) -> None:
    before = lab.baseline()
    begin(lab, "nemesis", "--seed", "3", "--minutes", "2", "--jobs-min", "60", "--only", "timeout:postgres")
    if not guarded:
        (lab.config.state_dir / "active.json").unlink(missing_ok=True)
    eventually(lambda: not lab.runs.is_locked(), HEALED_SECONDS_MAX, "the guardian has let go")
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
