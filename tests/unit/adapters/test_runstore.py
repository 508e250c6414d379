from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.adapters.runstore import RunStore, read_journal, write_durably
from chaos.config import ROOT
from chaos.domain.journal import ActiveRun, Phase, ProcessRef
from chaos.errors import DiskFullError, LabBusyError

HELD = ActiveRun(
    run_id="1-03-abcd",
    mode="scenario",
    scenario="03-connection-refused",
    variant="secret-variant",
    seed=1,
    started_unix=1.0,
    deadline_unix=4e9,
    held=True,
    runner=ProcessRef(1, 1.0),
    guardian=ProcessRef(2, 2.0),
)


def test_only_one_command_holds_a_lab_and_the_other_is_told_who(tmp_path: Path) -> None:
    first, second = RunStore(tmp_path), RunStore(tmp_path)
    first.set_active(HELD)
    first.acquire()
    assert second.is_locked()
    with pytest.raises(LabBusyError, match=r"03-connection-refused .* `make fix-3`") as caught:
        second.acquire()
    assert "secret-variant" not in str(caught.value)
    first.release()
    second.acquire()
    second.release()


def test_the_lock_outlives_the_process_that_took_it_in_a_child_that_inherits_it(tmp_path: Path) -> None:
    taker = (
        "import subprocess, sys; from pathlib import Path; from chaos.adapters.runstore import RunStore\n"
        "fd = RunStore(Path(sys.argv[1])).acquire()\n"
        "child = subprocess.Popen(['cat'], stdin=0, stdout=-3, stderr=-3, pass_fds=(fd,))\n"
        "print(child.pid, flush=True)\n"
    )
    read, write = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", taker, str(tmp_path)],
        stdin=read,
        capture_output=True,
        check=True,
        cwd=ROOT,
        timeout=30,
    )
    os.close(read)
    assert int(done.stdout) > 0
    store = RunStore(tmp_path)
    assert store.is_locked()
    os.close(write)  # cat ends, and with it the last holder
    store.acquire(wait_seconds_max=10.0)
    store.release()


def test_the_active_run_is_read_back_as_written(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert store.active() is None
    store.set_active(HELD)
    assert store.active() == HELD
    store.clear_active()
    assert store.active() is None


def test_a_journal_survives_a_line_cut_short(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    journal = store.journal("run")
    journal.write(Phase.PLANNED, "plan", seed=7)
    journal.write(Phase.INJECTING, "break it")
    journal.close()
    path = store.run_dir("run") / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"seq": 2, "at_un')
    entries = read_journal(path)
    assert [entry.phase for entry in entries] == [Phase.PLANNED, Phase.INJECTING]
    assert entries[0].detail == {"seed": 7}


def test_a_journal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for phase in (Phase.PLANNED, Phase.CLOSED):
        journal = store.journal("run")
        journal.write(phase, "go on")
        journal.close()
    assert [e.seq for e in read_journal(store.run_dir("run") / "journal.jsonl")] == [0, 1]


def test_a_journal_that_cannot_be_written_forbids_the_act(tmp_path: Path) -> None:
    journal = RunStore(tmp_path).journal("run")
    os.close(journal._fd)
    journal._fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(DiskFullError, match="Nothing was done"):
        journal.write(Phase.INJECTING, "break it")
    journal.close()


def test_a_durable_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "active.json"
    write_durably(path, "old")
    (tmp_path / f".active.json.{os.getpid()}").mkdir()  # the temporary name is taken
    with pytest.raises(OSError):  # noqa: PT011 unlink of a folder: what matters is the old file
        write_durably(path, "new")
    assert path.read_text(encoding="utf-8") == "old"


def test_old_runs_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.adapters.runstore.RUNS_KEPT_MAX", 2)
    store = RunStore(tmp_path)
    for name in ("1", "2", "3"):
        store.journal(name).write(Phase.CLOSED, "closed")
    store.prune()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["2", "3"]


@pytest.mark.parametrize("text", ["null", "[]", "{", '{"run_id": "1"}', '{"run_id": "1", "runner": {}}'])
def test_a_record_that_cannot_be_read_is_a_run_to_heal(tmp_path: Path, text: str) -> None:
    (tmp_path / "active.json").write_text(text)
    store = RunStore(tmp_path)
    active = store.active()
    assert active is not None
    assert active.run_id == "unreadable"
    store.clear_active()
    assert store.active() is None
